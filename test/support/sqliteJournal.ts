/** Journals in files, for tests. */
import { Context, Effect, Layer, Logger } from "effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteJournal from "../../src/layers/SqliteJournal.ts"
import { UsageJournal } from "../../src/services/UsageJournal.ts"
import { configLayer, figuresLayer, UsageFigures } from "../suites/usageSupport.ts"
import { nodeBinary } from "./node.ts"

/** A folder of its own until the scope closes. */
export const journalFolder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "usage-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

/** A journal that lives until the scope closes, its figures, and the lines that it logs as errors. */
export const openJournal = Effect.fnUntraced(function*(path: string) {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Error") lines.push(String(message))
  })
  const context = yield* Layer.build(Layer.fresh(SqliteJournal.layer.pipe(
    Layer.provideMerge(figuresLayer),
    Layer.provide(configLayer({ billing_endpoint: "http://billing.test", journal_path: path })),
    Layer.provideMerge(Logger.layer([logger]))
  )))
  const journal = Context.get(context, UsageJournal)
  return {
    path,
    journal,
    lines,
    figures: Context.get(context, UsageFigures),
    /** Looks at the file, as the meter does every five seconds. */
    look: Effect.provide(journal.balance, context)
  }
})

/** Whether another process could take the lock: within one, SQLite answers from its own memory. */
export const isLockFree = (path: string): boolean => {
  const take = `new (require("node:sqlite").DatabaseSync)(process.argv[1], { timeout: 0 }).exec("BEGIN EXCLUSIVE")`
  return spawnSync(nodeBinary, ["-e", take, `${path}.lock`]).status === 0
}
