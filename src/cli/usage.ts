import { Clock, Effect, type FileSystem, Option } from "effect"
import { Argument, Command, Flag, Param, Primitive } from "effect/cli"
import { existsSync } from "node:fs"
import type { DatabaseSync } from "node:sqlite"
import { csv, textTable } from "../internal/textTable.ts"
import { parseSince } from "../internal/usage/since.ts"
import { faultOf } from "../internal/usage/sqliteFault.ts"
import { openBeside, Unusable } from "../internal/usage/sqliteFile.ts"
import { makeSqliteStore } from "../internal/usage/sqliteStore.ts"
import {
  type Dimension,
  dimensionOf,
  dimensions,
  pending,
  summarize,
  type UsageLine
} from "../internal/usage/summary.ts"
import * as TomlConfig from "../layers/TomlConfig.ts"
import type { ConfigError } from "../services/SidecarConfig.ts"
import { CliExit, ExitCode } from "./exit.ts"
import { jsonFlag } from "./flags.ts"
import { cell, duration, onStdout, printLine, remark } from "./terminal.ts"

/** Why a record was set aside, with the first words of a service, is shown whole. Characters. */
const widestReason = 250

const wrong = (message: string): CliExit => new CliExit({ code: ExitCode.usage, message })

const journalFlag = Flag.String("journal").pipe(
  Flag.withMetavar("FILE"),
  Flag.withDescription("The journal to read (default: [metering] journal_path of the configuration)"),
  Flag.optional
)

/** Does something with the journal's file beside the daemon that may be writing it, then lets it go. */
const withJournal = <A>(
  journal: Option.Option<string>,
  mode: "read" | "write",
  use: (db: DatabaseSync) => A
): Effect.Effect<A, CliExit | ConfigError, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const path = Option.isSome(journal) ? journal.value : (yield* TomlConfig.load()).settings.metering.journal_path
    if (!existsSync(path)) {
      return yield* new CliExit({
        code: ExitCode.noInput,
        message: `no usage journal at ${path}; start the sidecar once, or name the file with --journal`
      })
    }
    return yield* Effect.acquireUseRelease(
      Effect.sync(() => openBeside(path, mode)),
      (db) => Effect.sync(() => use(db)),
      (db) => Effect.sync(() => db.close())
    ).pipe(
      Effect.catchDefect((defect) =>
        Effect.fail(
          new CliExit({
            code: ExitCode.noInput,
            message: defect instanceof Unusable ? `${path} ${defect.message}` : `${path}: ${faultOf(defect).detail}`
          })
        )
      )
    )
  })

const numbers = (line: UsageLine): ReadonlyArray<number> => [line.streams, line.tokens, line.promptTokens]
const numberNames = ["streams", "tokens", "prompt_tokens"]

const asJson = (by: ReadonlyArray<Dimension>, lines: ReadonlyArray<UsageLine>): string =>
  JSON.stringify(lines.map(({ keys, promptTokens, ...rest }) => ({
    ...Object.fromEntries(by.map((dimension, index) => [dimension, keys[index]])),
    streams: rest.streams,
    tokens: rest.tokens,
    prompt_tokens: promptTokens,
    chunks: rest.chunks,
    bytes: rest.bytes
  })))

const rowsOf = (
  by: ReadonlyArray<Dimension>,
  lines: ReadonlyArray<UsageLine>
): ReadonlyArray<ReadonlyArray<string | number>> => [
  [...by, ...numberNames],
  ...lines.map((line) => [...line.keys, ...numbers(line)])
]

const asTable = (by: ReadonlyArray<Dimension>, lines: ReadonlyArray<UsageLine>): string => {
  const [head = [], ...body] = rowsOf(by, lines)
  const total = [0, 1, 2].map((column) => lines.reduce((sum, line) => sum + (numbers(line)[column] ?? 0), 0))
  const shown = body.map((row) => row.map((value) => value === "" ? "-" : cell(String(value))))
  const last = by.length === 0 ? [] : [[...by.map((_, index) => index === 0 ? "total" : ""), ...total.map(String)]]
  const [first = "", ...rest] = textTable([head.map(String), ...shown, ...last], numberNames.length).split("\n")
  return [onStdout.dim(first), ...rest].join("\n")
}

/** A shell completes one name of them; several are written with commas, which is for the command to take apart. */
const byFlag = Param.makeSingle({
  kind: Param.flagKind,
  name: "by",
  primitiveType: Object.assign(Primitive.Choice<string>(dimensions.map((name) => [name, name])), {
    parse: (names: string) => Effect.succeed(names)
  })
})

const usageTable = Command.make(
  "usage",
  {
    journal: journalFlag,
    json: jsonFlag,
    csv: Flag.Boolean("csv").pipe(Flag.withDescription("Print CSV for spreadsheets"), Flag.withDefault(false)),
    since: Flag.String("since").pipe(
      Flag.withMetavar("WHEN"),
      Flag.withDescription("30m, 1h, 7d, 2w or an ISO date; whole hours, UTC (default: everything)"),
      Flag.optional
    ),
    by: byFlag.pipe(
      Flag.withMetavar("KEYS"),
      Flag.withDescription("What to sum by; several with commas, or --by again (default: model)"),
      Flag.atLeast(0)
    )
  },
  (given) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const asked = given.by.length === 0 ? ["model"] : given.by.flatMap((names) => names.split(","))
      const by: Array<Dimension> = []
      for (const name of new Set(asked.map((one) => one.trim()).filter((one) => one !== "" && one !== "none"))) {
        const dimension = dimensionOf(name)
        if (dimension === undefined) return yield* wrong(`--by ${name}: expected one of ${dimensions.join(", ")}`)
        by.push(dimension)
      }
      const since = Option.map(given.since, (text) => parseSince(text, now))
      if (Option.isSome(since) && since.value === undefined) {
        return yield* wrong(
          `--since ${Option.getOrElse(given.since, () => "")}: expected 1h, 7d or a date such as 2026-01-31`
        )
      }
      const from = Option.getOrUndefined(since)
      const sinceHour = from === undefined ? "" : new Date(from).toISOString().slice(0, 13)
      const lines = yield* withJournal(given.journal, "read", (db) => summarize(db, { by, sinceHour }))
      if (given.json) return yield* printLine(asJson(by, lines))
      if (given.csv) return yield* printLine(csv(rowsOf(by, lines)))
      yield* printLine(asTable(by, lines))
    })
).pipe(Command.withDescription("Show the tokens that were delivered, from the usage journal"))

const pendingCommand = Command.make(
  "pending",
  { journal: journalFlag, json: jsonFlag },
  (given) =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const found = yield* withJournal(given.journal, "read", pending)
      if (given.json) return yield* printLine(JSON.stringify(found))
      const age = found.oldest === "" ? "" : `, the oldest for ${duration((now - Date.parse(found.oldest)) / 1000)}`
      const sum = ({ records, tokens }: { readonly records: number; readonly tokens: number }, what = "records") =>
        `${records} ${what}, ${tokens} tokens`
      const rows: ReadonlyArray<readonly [string, string]> = [
        ["sidecar", found.sidecarId],
        ["running", `${found.running} streams`],
        ["waiting", `${sum(found.waiting)}${age}`],
        ["in report", sum(found.inReport)],
        ["set aside", sum(found.setAside)],
        ["accepted", sum(found.acknowledged, "streams")],
        ["delivered", `${sum(found.delivered, "streams")} (${found.mergedStreams} merged)`]
      ]
      yield* printLine(rows.map(([name, value]) => `${onStdout.dim(name.padEnd(10))} ${value}`).join("\n"))
    })
).pipe(Command.withDescription("Show what waits to be reported to the billing service"))

const list = Command.make(
  "list",
  { journal: journalFlag, json: jsonFlag },
  (given) =>
    Effect.gen(function*() {
      const aside = yield* withJournal(given.journal, "read", (db) => makeSqliteStore(db).aside())
      if (given.json) {
        return yield* printLine(JSON.stringify(aside.map(({ reason, record }) => ({ ...record, reason }))))
      }
      if (aside.length === 0) return yield* printLine("nothing is set aside")
      const rows = aside.map(({ reason, record }) => [
        record.record_id,
        record.ended_at,
        cell(record.tenant),
        cell(record.model_id),
        cell(reason, widestReason),
        String(record.tokens_generated)
      ])
      yield* printLine(textTable([["record_id", "ended_at", "tenant", "model", "reason", "tokens"], ...rows], 1))
    })
).pipe(Command.withDescription("Show the records that the billing service refused, with its words"))

const retry = Command.make(
  "retry",
  {
    journal: journalFlag,
    ids: Argument.String("record_id").pipe(
      Argument.withDescription("Only these; without any: all that are set aside"),
      Argument.variadic({ min: 0 })
    )
  },
  (given) =>
    Effect.gen(function*() {
      const ids = given.ids.length === 0 ? undefined : given.ids
      const moved = yield* withJournal(given.journal, "write", (db) => {
        const store = makeSqliteStore(db)
        return store.transaction(() => store.putBack(ids))
      })
      yield* printLine(`${moved} records wait again; the sidecar sends them with its next report`)
      const unknown = (ids?.length ?? moved) - moved
      if (unknown > 0) {
        yield* remark(`${unknown} of the ids are not set aside\n`)
        return yield* new CliExit({ code: ExitCode.failure, message: "" })
      }
    })
).pipe(Command.withDescription("Send records that were set aside once more, with their old ids"))

const quarantine = Command.make("quarantine").pipe(
  Command.withDescription("Look at the records that the billing service refused, or send them again"),
  Command.withSubcommands([list, retry])
)

/** `sidecar usage`, `usage pending`, `usage quarantine list|retry`: the journal's file, also while the daemon writes it. */
export const usage = usageTable.pipe(Command.withSubcommands([pendingCommand, quarantine]))
