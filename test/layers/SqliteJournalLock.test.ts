import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { makeJournalFile } from "../../src/internal/usage/journalFile.ts"
import { makeRecordIds } from "../../src/internal/usage/recordId.ts"
import { isLockFree, journalFolder } from "../support/sqliteJournal.ts"

describe("the lock of a journal", () => {
  it.live("keeps other processes out when the file had to be opened anew", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const file = makeJournalFile({
        path,
        durability: "crash",
        retention: { limit: 1000, countMerged: true },
        session: "session",
        sidecarId: "sidecar",
        generation: 0
      }, makeRecordIds(Math.random))
      const ask = (op: "begin" | "balance" | "stop") => file.handle({ id: 1, now: 1000, command: { op } }).result._tag
      assert.strictEqual(ask("begin"), "done")
      assert.isFalse(isLockFree(path))

      const other = new DatabaseSync(path)
      other.exec("BEGIN IMMEDIATE")
      assert.strictEqual(ask("balance"), "fault")
      other.close()
      assert.strictEqual(ask("balance"), "done")
      assert.isFalse(isLockFree(path))

      ask("stop")
      assert.isTrue(isLockFree(path))
    }).pipe(Effect.scoped))
})
