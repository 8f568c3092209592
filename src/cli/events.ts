import { Effect, Option, Schedule, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { eventWords } from "../internal/ops/eventHistory.ts"
import { PastEvent } from "../services/PastEvent.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { order } from "./order.ts"
import { connect, type Peer, peerFlags } from "./peer.ts"
import { cell, onStdout, print, remark } from "./terminal.ts"

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Array(PastEvent)))

/** Characters of one event in a line: the remedy belongs to it. */
const WIDEST = 400

type Events = ReadonlyArray<PastEvent>

const ask = (peer: Peer): Effect.Effect<Events, CliExit> =>
  Effect.flatMap(order(peer, "sidecar.events"), ({ events }) =>
    Option.match(decode(events), {
      onSome: Effect.succeed,
      onNone: () =>
        Effect.fail(
          new CliExit({ code: ExitCode.dataError, message: `${peer.address} answers with events that cannot be read` })
        )
    }))

/** One event for people: when, about what, what happened. The time is the sidecar's. */
export const eventLine = (event: PastEvent): string => {
  const text = cell(eventWords(event), WIDEST)
  const time = event.at.replace("T", " ").replace(/\.\d+Z$/, "Z")
  return `${onStdout.dim(time)}  ${event.kind.padEnd(8)}  ${event.level === "warn" ? onStdout.yellow(text) : text}`
}

const show = (events: Events, json: boolean): Effect.Effect<void, CliExit> =>
  print(events.map((event) => `${json ? JSON.stringify(event) : eventLine(event)}\n`).join(""))

/** Up to where `--watch` has printed. */
interface Seen {
  id: number
  revision: number
}

/** What has to be printed now. Programs are told of every change, people of what is new and of a row that is over. */
export const news = (events: Events, seen: Seen, json: boolean): Events => {
  // A sidecar that was started again counts from 1.
  if (events.length > 0 && events.every(({ id }) => id < seen.id)) Object.assign(seen, { id: 0, revision: 0 })
  const isRowOver = ({ count, kind, lasting, reason }: PastEvent) =>
    !lasting && (kind === "refusals" || (reason === "set_aside" && count > 1))
  const fresh = events.filter((event) => json || isRowOver(event) ? event.revision > seen.revision : event.id > seen.id)
  seen.id = Math.max(seen.id, ...events.map(({ id }) => id))
  seen.revision = Math.max(seen.revision, ...events.map(({ revision }) => revision))
  return fresh
}

const watch = (peer: Peer, json: boolean) => {
  const seen: Seen = { id: 0, revision: 0 }
  let away = false
  return ask(peer).pipe(
    Effect.tap(() => Effect.sync(() => void (away = false))),
    Effect.catchTag("CliExit", (error) => {
      if (error.code !== ExitCode.unavailable) return Effect.fail(error)
      const said = away ? Effect.void : remark(`sidecar: ${error.message}\n`)
      away = true
      return Effect.as(said, [])
    }),
    Effect.flatMap((events) => show(news(events, seen, json), json)),
    Effect.repeat(Schedule.spaced("1 second"))
  )
}

/** `sidecar events`: what happened lately in a running sidecar. */
export const events = Command.make(
  "events",
  {
    ...peerFlags,
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print a line of JSON for each event, with --watch for each change of one"),
      Flag.withDefault(false)
    ),
    watch: Flag.Boolean("watch").pipe(
      Flag.withAlias("w"),
      Flag.withDescription("Go on with what happens, until Ctrl-C"),
      Flag.withDefault(false)
    )
  },
  (given) =>
    Effect.gen(function*() {
      const peer = yield* connect(given)
      if (given.watch) return yield* Effect.asVoid(watch(peer, given.json))
      yield* show(yield* ask(peer), given.json)
    }).pipe(Effect.scoped)
).pipe(
  Command.withDescription(
    "What happened lately in a running sidecar: the worker's status, reloads, refusals, limits, billing, configuration"
  )
)
