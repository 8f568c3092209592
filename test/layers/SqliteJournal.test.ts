import { Effect, Layer } from "effect"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteJournal from "../../src/layers/SqliteJournal.ts"
import { usageJournalSuite } from "../suites/usageJournalSuite.ts"
import { configLayer, figuresLayer } from "../suites/usageSupport.ts"

const tempFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "usage-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

usageJournalSuite(
  "SqliteJournal",
  (metering) =>
    Layer.unwrap(Effect.map(tempFolder, (folder) =>
      SqliteJournal.layer.pipe(
        Layer.provideMerge(figuresLayer),
        Layer.provide(configLayer({ ...metering, journal_path: join(folder, "usage.sqlite") }))
      )))
)
