import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Settlement } from "../../src/services/UsageJournal.ts"
import { record } from "../suites/usageSupport.ts"
import { journalFolder, openJournal } from "../support/sqliteJournal.ts"

/** A journal with one acknowledged record of 10 tokens, one in a batch (20), one aside (40) and one that waits (80). */
const used = Effect.fnUntraced(function*(path: string) {
  const world = yield* openJournal(path)
  const { journal } = world
  const send = Effect.fnUntraced(function*(tokens: number, id: string, settlement?: Settlement) {
    yield* journal.closed(tokens, record(tokens, { id }))
    const batch = yield* journal.nextBatch(1)
    if (settlement !== undefined) yield* journal.settle(batch!.batchId, settlement)
    return batch!.batchId
  })
  yield* send(10, "acknowledged", Settlement.Acknowledged())
  yield* send(40, "aside", Settlement.SetAside({ reason: "no" }))
  const batchId = yield* send(20, "batched")
  yield* journal.closed(80, record(80, { id: "waiting" }))
  yield* world.look
  return { ...world, batchId }
})

const remove = (path: string, suffixes: ReadonlyArray<string> = ["", "-wal", "-shm", ".lock"]) => {
  for (const suffix of suffixes) fs.rmSync(path + suffix, { force: true })
}

const whole = {
  delivered: { records: 4, tokens: 150 },
  acknowledged: { records: 1, tokens: 10 },
  waiting: { records: 2, tokens: 100 },
  setAside: { records: 1, tokens: 40 }
}

describe("a journal whose file is deleted under it", () => {
  it.live("is written again with all that it held, at the next look", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const { batchId, figures, journal, lines, look } = yield* used(path)
      remove(path)
      yield* journal.closed(1, record(1, { id: "meanwhile" }))
      const generation = journal.generation()
      const balance = yield* look
      assert.deepInclude(balance, {
        ...whole,
        delivered: { records: 5, tokens: 151 },
        waiting: { records: 3, tokens: 101 }
      })
      assert.strictEqual(journal.generation(), generation)
      assert.strictEqual(lines.length, 2)
      assert.match(lines[0]!, /usage\.sqlite\.lock was removed, and is made again$/)
      assert.match(lines[1]!, /usage\.sqlite was moved or deleted; .* nothing was lost$/)
      assert.deepStrictEqual([...figures.journalErrors], [["moved", 2]])
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      assert.strictEqual((yield* journal.nextBatch(9))?.batchId, batchId)
      yield* journal.closed(2, record(2, { id: "after" }))
      assert.strictEqual((yield* look).delivered.tokens, 153)
      assert.deepStrictEqual(fs.readdirSync(join(path, "..")).filter((name) => /restored|corrupt/.test(name)), [])
    }).pipe(Effect.scoped))

  it.live("is written again when the sidecar stops before it looks", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* Effect.scoped(Effect.andThen(used(path), () => Effect.sync(() => remove(path))))
      assert.deepInclude(yield* (yield* openJournal(path)).look, whole)
    }).pipe(Effect.scoped))

  it.live("is written again with its folder", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "deep", "usage.sqlite")
      const { lines, look } = yield* used(path)
      fs.rmSync(join(path, ".."), { recursive: true })
      assert.deepInclude(yield* look, whole)
      assert.match(lines.at(-1)!, /nothing was lost$/)
    }).pipe(Effect.scoped))

  it.live("is held open until it can be written again", () =>
    Effect.gen(function*() {
      const place = yield* journalFolder
      const path = join(place, "deep", "usage.sqlite")
      const { journal, look } = yield* used(path)
      fs.rmSync(join(path, ".."), { recursive: true })
      fs.writeFileSync(join(place, "deep"), "in the way")
      assert.deepInclude(yield* look, whole)
      assert.strictEqual(journal.condition()._tag, "failing")
      yield* journal.closed(1, record(1))
      fs.rmSync(join(place, "deep"))
      assert.strictEqual((yield* look).delivered.tokens, 151)
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }).pipe(Effect.scoped))

  it.live("carries what waits over into another file that is in its place", () =>
    Effect.gen(function*() {
      const place = yield* journalFolder
      const path = join(place, "usage.sqlite")
      const other = join(place, "other.sqlite")
      yield* Effect.scoped(
        Effect.flatMap(openJournal(other), ({ journal }) => journal.closed(1, record(1000, { id: "other" })))
      )
      const { batchId, journal, lines, look } = yield* used(path)
      remove(path)
      fs.renameSync(other, path)
      const balance = yield* look
      assert.deepInclude(balance, {
        delivered: { records: 4, tokens: 1140 },
        acknowledged: { records: 0, tokens: 0 },
        waiting: { records: 3, tokens: 1100 },
        setAside: { records: 1, tokens: 40 }
      })
      assert.match(lines.at(-1)!, /another file .* 3 streams with 140 tokens .* carried over/)
      assert.strictEqual((yield* journal.nextBatch(9))?.batchId, batchId)
      assert.deepStrictEqual((yield* journal.setAside).map(({ reason }) => reason), ["no"])
    }).pipe(Effect.scoped))

  it.live("lets in nobody else when only its lock is removed", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const { lines, look } = yield* used(path)
      remove(path, [".lock"])
      yield* look
      assert.match(lines[0]!, /\.lock was removed/)
      assert.strictEqual((yield* Effect.exit(Effect.scoped(openJournal(path))))._tag, "Failure")
    }).pipe(Effect.scoped))

  it.live("leaves the file to a sidecar that came in meanwhile, and writes on when that one is gone", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const { journal, look } = yield* used(path)
      remove(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* openJournal(path)
        yield* second.journal.closed(1, record(1000, { id: "second" }))
        yield* look
        const condition = journal.condition()
        assert.strictEqual(condition._tag === "failing" ? condition.reason : "", "locked")
        assert.strictEqual((yield* second.look).waiting.tokens, 1000)
      }))
      assert.deepInclude(yield* look, {
        waiting: { records: 3, tokens: 1100 },
        setAside: { records: 1, tokens: 40 },
        delivered: { records: 4, tokens: 1140 }
      })
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
    }).pipe(Effect.scoped))

  it.live("loses nothing when only its write-ahead log is deleted", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const { lines, look } = yield* used(path)
      remove(path, ["-wal", "-shm"])
      assert.deepInclude(yield* look, whole)
      assert.match(lines[0]!, /-wal was removed; .* nothing was lost$/)
      const reader = new DatabaseSync(path, { readOnly: true })
      assert.strictEqual(reader.prepare("SELECT COUNT(*) AS rows FROM records").get()?.["rows"], 3)
      reader.close()
    }).pipe(Effect.scoped))
})

describe("a journal whose file is moved", () => {
  it.live("names the file, which is complete, and begins a fresh one", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const moved = join(path, "..", "moved.sqlite")
      const { figures, journal, lines, look } = yield* used(path)
      const generation = journal.generation()
      fs.renameSync(path, moved)
      yield* look
      yield* journal.closed(2, record(4))
      assert.deepInclude(yield* look, { delivered: { records: 1, tokens: 4 }, waiting: { records: 1, tokens: 4 } })
      assert.isAbove(journal.generation(), generation)
      assert.match(lines[0]!, /was moved to .*moved\.sqlite; a fresh journal begins\. 3 records with 140 tokens/)
      assert.deepStrictEqual([...figures.journalErrors], [["moved", 1]])
      assert.deepInclude(yield* (yield* openJournal(moved)).look, whole)
    }).pipe(Effect.scoped))
})
