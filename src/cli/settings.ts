import { Effect, Option, Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { keyNamed } from "../internal/config/keys.ts"
import { mayChange, waitsForOthers } from "../internal/config/liveSettings.ts"
import { HIDDEN } from "../internal/config/show.ts"
import { SettingChange } from "../services/ConfigReload.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { order } from "./order.ts"
import { connect, type Peer, peerFlags } from "./peer.ts"
import { onStdout, printLine } from "./terminal.ts"

type Change = typeof SettingChange.Type
type Shown = Readonly<Record<string, Readonly<Record<string, string>>>>

const changes = Schema.decodeUnknownOption(Schema.fromJsonString(Schema.Array(SettingChange)))
const shown = Schema.decodeUnknownOption(
  Schema.fromJsonString(Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.String)))
)

const unreadable = ({ address }: Peer): CliExit =>
  new CliExit({ code: ExitCode.dataError, message: `${address} answers with settings that cannot be read` })

const line = ({ from, key, section, to }: Change, behind = ""): string =>
  `[${section}] ${key}: ${from} → ${to}${behind}`

const NEEDS_RESTART = onStdout.yellow("  (needs a restart)")

/** `sidecar reload`: what SIGHUP does, and what came of it. */
export const reload = Command.make("reload", peerFlags, (given) =>
  Effect.gen(function*() {
    const peer = yield* connect(given)
    const answer = yield* order(peer, "sidecar.reload")
    const changed = Option.getOrUndefined(changes(answer.changed))
    const needRestart = Option.getOrUndefined(changes(answer.need_restart))
    if (changed === undefined || needRestart === undefined) return yield* unreadable(peer)
    const lines = [
      ...changed.map((change) => line(change)),
      ...needRestart.map((change) => line(change, NEEDS_RESTART))
    ]
    yield* printLine(lines.length === 0 ? "nothing has changed" : lines.join("\n"))
  }).pipe(Effect.scoped)).pipe(
    Command.withDescription(
      "Let a running sidecar read file and environment again: limits, holds, time limits, log level, notice prefixes, the " +
        "billing endpoint and TLS files change, the rest is named; a mistake changes nothing (exit code 78)"
    )
  )

/** `sidecar log-level LEVEL` */
export const logLevel = Command.make(
  "log-level",
  {
    ...peerFlags,
    level: Argument.Literals("level", ["trace", "debug", "info", "warn", "error"]).pipe(
      Argument.withDescription("The least severe level that is logged from now on")
    )
  },
  (given) =>
    Effect.gen(function*() {
      const peer = yield* connect(given)
      const { before, level } = yield* order(peer, "sidecar.log_level", { level: given.level })
      yield* printLine(`log level: ${before} → ${level}, until the next reload or restart`)
    }).pipe(Effect.scoped)
).pipe(Command.withDescription("Change the log level of a running sidecar, until its next reload or restart"))

/** The keys of `wanted` whose values are not those of the sidecar that runs. */
export const runningDifference = (running: Shown, wanted: Shown): ReadonlyArray<string> => {
  const found = Object.entries(wanted).flatMap(([section, table]) =>
    Object.entries(table).flatMap(([key, to]) => {
      const from = running[section]?.[key] ?? "none"
      return from === to ? [] : [{ section, key, from, to }]
    })
  )
  const names = found.map(({ key }) => key)
  return found.map((change) => {
    const { from, key, to } = change
    const taken = mayChange(keyNamed(key) ?? { live: "never" }, from, to) && !waitsForOthers(key, names)
    return line(change, taken ? "  (sidecar reload)" : NEEDS_RESTART)
  })
}

/** What is said when nothing differs: of secrets nobody knows. */
export const sameWords = (wanted: Shown): string =>
  Object.values(wanted).some((table) => Object.values(table).some((value) => value.includes(HIDDEN)))
    ? `The sidecar that runs has these settings in force; secrets (${HIDDEN}) are not compared.`
    : "The sidecar that runs has these settings in force."

/** Compares settings with those that a running sidecar has in force; 1 when they differ. */
export const compareWithRunning = (peer: Peer, wanted: Shown): Effect.Effect<number, CliExit> =>
  Effect.gen(function*() {
    const answer = yield* order(peer, "sidecar.config")
    const running = Option.getOrUndefined(shown(answer.settings))
    if (running === undefined) return yield* unreadable(peer)
    const lines = runningDifference(running, wanted)
    yield* printLine(
      lines.length === 0
        ? sameWords(wanted)
        : ["running → here", ...lines].join("\n")
    )
    return lines.length === 0 ? ExitCode.ok : ExitCode.failure
  })
