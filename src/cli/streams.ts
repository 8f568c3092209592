import { Effect, Option, Schedule, Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { textTable } from "../internal/textTable.ts"
import { StreamRow } from "../services/StreamRow.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { jsonFlag, watchFlag } from "./flags.ts"
import { order } from "./order.ts"
import { connect, type Peer, peerFlags } from "./peer.ts"
import { cell, CLEAR_SCREEN, duration, onStdout, print, printLine } from "./terminal.ts"

type Rows = ReadonlyArray<StreamRow>

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Array(StreamRow)))

/** Characters of a name in the table. */
const WIDEST = 30

interface Running {
  readonly rows: Rows
  readonly total: number
}

const ask = (peer: Peer): Effect.Effect<Running, CliExit> =>
  Effect.flatMap(order(peer, "sidecar.streams"), ({ streams, total }) =>
    Option.match(decode(streams), {
      onSome: (rows) => Effect.succeed({ rows, total: Number(total) }),
      onNone: () =>
        Effect.fail(
          new CliExit({ code: ExitCode.dataError, message: `${peer.address} answers with streams that cannot be read` })
        )
    }))

const head = ["id", "state", "model", "tenant", "peer", "deadline", "age", "tokens", "tokens/s"]

/** A table for people, the oldest streams first. */
export const renderStreams = ({ rows, total }: Running): string => {
  if (rows.length === 0) return "no stream is under way"
  const [first = "", ...rest] = textTable([
    head,
    ...rows.map((row) => [
      row.id,
      row.state,
      cell(row.model, WIDEST) || "-",
      cell(row.tenant, WIDEST) || "-",
      cell(row.peer, WIDEST),
      row.deadline_seconds === null ? "-" : duration(row.deadline_seconds),
      duration(row.age_seconds),
      String(row.tokens),
      String(row.tokens_per_second)
    ])
  ], 3).split("\n")
  const more = total > rows.length ? [onStdout.dim(`… and ${total - rows.length} younger ones`)] : []
  return [onStdout.dim(first), ...rest, ...more].join("\n")
}

const show = (running: Running, json: boolean): string => json ? JSON.stringify(running.rows) : renderStreams(running)

/** `sidecar streams`: what is under way in a running sidecar. */
export const streams = Command.make(
  "streams",
  {
    ...peerFlags,
    json: jsonFlag,
    watch: watchFlag
  },
  (given) =>
    Effect.gen(function*() {
      const peer = yield* connect(given)
      if (!given.watch) return yield* printLine(show(yield* ask(peer), given.json))
      const clear = !given.json && process.stdout.isTTY ? CLEAR_SCREEN : ""
      yield* ask(peer).pipe(
        Effect.flatMap((running) => print(`${clear}${show(running, given.json)}\n`)),
        Effect.repeat(Schedule.spaced("1 second"))
      )
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "The streams that are under way in a running sidecar, the oldest first: held, queued or at the worker; tokens a second are over their age"
  )
)

const kill = Command.make(
  "kill",
  { ...peerFlags, id: Argument.String("id").pipe(Argument.withDescription("As `sidecar streams` shows it")) },
  (given) =>
    Effect.gen(function*() {
      yield* order(yield* connect(given), "sidecar.stream_kill", { id: given.id })
      yield* printLine("ended: its gateway is told ABORTED, cy-reason killed; the worker's call is cancelled")
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "End one stream: its gateway is told ABORTED (cy-reason killed), the worker's call is cancelled"
  )
)

/** `sidecar stream kill ID` */
export const stream = Command.make("stream").pipe(
  Command.withDescription("Do something with one stream"),
  Command.withSubcommands([kill])
)
