import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fs from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { Worker } from "node:worker_threads"
import { openBeside } from "../../src/internal/usage/sqliteFile.ts"
import { makeSqliteStore } from "../../src/internal/usage/sqliteStore.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import { Settlement, type UsageJournal } from "../../src/services/UsageJournal.ts"
import { record } from "../suites/usageSupport.ts"
import { isLockFree, journalFolder, openJournal } from "../support/sqliteJournal.ts"

/** The threads that were started since. */
const threadsSeen = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => {
      const threads: Array<Worker> = []
      const seen = (worker: Worker) => void threads.push(worker)
      process.on("worker", seen)
      return { threads, seen }
    }),
    ({ seen }) => Effect.sync(() => void process.off("worker", seen))
  ),
  ({ threads }) => threads
)

/** A journal that lives until the scope closes, and its threads. */
const open = Effect.fnUntraced(function*(path: string) {
  const threads = yield* threadsSeen
  return { threads, ...(yield* openJournal(path)) }
})

/** Leaves a journal with one acknowledged record of 10 tokens, one aside (40) and one that waits (80). */
const leave = (path: string) =>
  Effect.scoped(Effect.gen(function*() {
    const { journal } = yield* open(path)
    const send = Effect.fnUntraced(function*(tokens: number, id: string, settlement: Settlement) {
      yield* journal.closed(tokens, record(tokens, { id }))
      const batch = yield* journal.nextBatch(1)
      yield* journal.settle(batch!.batchId, settlement)
    })
    yield* send(10, "acknowledged", Settlement.Acknowledged())
    yield* send(40, "aside", Settlement.SetAside({ reason: "no" }))
    yield* journal.closed(80, record(80, { id: "waiting" }))
  }))

const left = {
  delivered: { records: 3, tokens: 130 },
  acknowledged: { records: 1, tokens: 10 },
  waiting: { records: 1, tokens: 80 },
  setAside: { records: 1, tokens: 40 }
}
const leftAnd = (tokens: number) => ({
  ...left,
  delivered: { records: 4, tokens: 130 + tokens },
  waiting: { records: 2, tokens: 80 + tokens }
})

const all = ["", "-wal", "-shm", ".lock"]
const remove = (path: string, suffixes: ReadonlyArray<string> = all) => {
  for (const suffix of suffixes) fs.rmSync(path + suffix, { force: true })
}

const idsOf = (journal: UsageJournal["Service"]) =>
  Effect.map(journal.nextBatch(1000), (batch) => (batch?.records ?? []).map((one) => one.record_id))

const descriptors = (path: string): number =>
  fs.readdirSync("/proc/self/fd").filter((name) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${name}`).startsWith(path)
    } catch {
      return false
    }
  }).length

describe("a journal that nothing has been written to yet", () => {
  it.live("has no thread, and knows what the file holds", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* Effect.scoped(Effect.gen(function*() {
        const { journal, look, threads } = yield* open(path)
        assert.deepInclude(yield* look, { delivered: { records: 0, tokens: 0 }, waiting: { records: 0, tokens: 0 } })
        assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
        assert.strictEqual(threads.length, 0)
      }))
      yield* leave(path)
      const { journal, lines, look, threads } = yield* open(path)
      assert.deepInclude(yield* look, left)
      assert.deepInclude(yield* look, left)
      assert.isDefined((yield* look).oldestWaitingAt)
      assert.strictEqual(threads.length, 0)
      assert.deepStrictEqual(lines, [])
      // A report of what waits begins with a batch, which is written.
      assert.deepStrictEqual(yield* idsOf(journal), ["waiting"])
      assert.strictEqual(threads.length, 1)
    }).pipe(Effect.scoped))

  it.live("starts its thread when a stream opens, and commits the ends that come meanwhile in their order", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* leave(path)
      const { journal, look, threads } = yield* open(path)
      const generation = journal.generation()
      journal.opened(new Tally(1, "running", 1000))
      yield* Effect.yieldNow.pipe(Effect.repeat({ until: () => threads.length === 1 }))
      const ids = Array.from({ length: 100 }, (_, index) => `r${String(index).padStart(3, "0")}`)
      const reader = new DatabaseSync(path, { readOnly: true })
      yield* Effect.forEach(ids, (id, index) =>
        Effect.map(journal.closed(index + 2, record(1, { id })), () => {
          // Told: then it is in the file.
          const found = reader.prepare("SELECT COUNT(*) AS rows FROM records WHERE record_id = ?").get(id)
          assert.strictEqual(found?.["rows"], 1)
        }), { concurrency: "unbounded" })
      reader.close()
      assert.deepStrictEqual(yield* idsOf(journal), ["waiting", ...ids])
      assert.strictEqual((yield* look).delivered.tokens, 230)
      assert.deepStrictEqual([threads.length, journal.generation()], [1, generation])
    }).pipe(Effect.scoped))

  it.live("keeps other sidecars out, whichever threads come and go", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const { journal, threads } = yield* open(path)
      assert.isFalse(isLockFree(path))
      assert.strictEqual((yield* Effect.flip(Effect.scoped(open(path)))).reason, "locked")
      assert.isFalse(isLockFree(path))
      yield* journal.closed(1, record(1))
      assert.isFalse(isLockFree(path))
      yield* Effect.promise(() => threads[0]!.terminate())
      assert.isFalse(isLockFree(path))
      yield* journal.closed(2, record(1))
      yield* journal.closed(3, record(1))
      assert.isFalse(isLockFree(path))
    }).pipe(Effect.scoped))

  it.live("lets its lock, its thread and its descriptors go when it stops, rested or not", () =>
    Effect.gen(function*() {
      const place = yield* journalFolder
      const path = join(place, "usage.sqlite")
      const live = (use: (journal: UsageJournal["Service"]) => Effect.Effect<unknown>) =>
        Effect.scoped(Effect.gen(function*() {
          const { journal, threads } = yield* open(path)
          assert.isAbove(descriptors(place), 0)
          yield* use(journal)
          return threads
        })).pipe(Effect.tap(() =>
          Effect.sync(() => {
            assert.strictEqual(descriptors(place), 0)
            assert.deepStrictEqual(fs.readdirSync(place).toSorted(), ["usage.sqlite", "usage.sqlite.lock"])
          })
        ))
      assert.strictEqual((yield* live(() => Effect.void)).length, 0)
      assert.isTrue(isLockFree(path))
      // The thread has hardly begun when it is to stop.
      const threads = yield* live((journal) =>
        Effect.gen(function*() {
          journal.opened(new Tally(1, "open", 1000))
          yield* Effect.forkDetach(journal.closed(2, record(5, { id: "late" })), { startImmediately: true })
          yield* Effect.yieldNow
        })
      )
      assert.isAtMost(threads.length, 1)
      assert.isTrue(isLockFree(path))
      const { journal } = yield* open(path)
      assert.include(yield* idsOf(journal), "late")
    }).pipe(Effect.scoped))

  it.live("hears what another process wrote", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* leave(path)
      const { journal, look } = yield* open(path)
      assert.deepInclude(yield* look, left)
      // As `sidecar usage quarantine retry` does.
      const beside = openBeside(path, "write")
      const store = makeSqliteStore(beside)
      store.transaction(() => store.putBack(undefined))
      beside.close()
      assert.deepInclude(yield* look, {
        ...left,
        waiting: { records: 2, tokens: 120 },
        setAside: { records: 0, tokens: 0 }
      })
      assert.sameMembers([...(yield* idsOf(journal))], ["aside", "waiting"])
    }).pipe(Effect.scoped))
})

describe("the file of a journal that rests", () => {
  const restored = /usage\.sqlite was moved or deleted; .* nothing was lost$/

  const assertTidy = (path: string) =>
    assert.deepStrictEqual(fs.readdirSync(join(path, "..")).filter((name) => /rested|restored|corrupt/.test(name)), [])

  it.live("is written again when it was deleted, at the next look", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* leave(path)
      const { figures, journal, lines, look } = yield* open(path)
      const generation = journal.generation()
      remove(path)
      assert.deepInclude(yield* look, left)
      assert.strictEqual(lines.length, 2)
      assert.match(lines[0]!, /usage\.sqlite\.lock was removed, and is made again$/)
      assert.match(lines[1]!, restored)
      assert.deepStrictEqual([...figures.journalErrors], [["moved", 2]])
      assert.deepStrictEqual(journal.condition(), { _tag: "ok" })
      assert.strictEqual(journal.generation(), generation)
      assert.isFalse(isLockFree(path))
      assertTidy(path)
      yield* journal.closed(1, record(1))
      assert.deepInclude(yield* look, leftAnd(1))
    }).pipe(Effect.scoped))

  it.live("is written again when a stream ends before somebody looks, and when the sidecar stops", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* leave(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const { journal, look } = yield* open(path)
        remove(path)
        yield* journal.closed(1, record(1))
        assert.deepInclude(yield* look, leftAnd(1))
      }))
      yield* Effect.scoped(Effect.andThen(open(path), Effect.sync(() => remove(path))))
      assert.deepInclude(yield* (yield* open(path)).look, leftAnd(1))
      assertTidy(path)
    }).pipe(Effect.scoped))

  it.live("is held open until it can be written again", () =>
    Effect.gen(function*() {
      const place = yield* journalFolder
      const path = join(place, "deep", "usage.sqlite")
      yield* leave(path)
      const { journal, look } = yield* open(path)
      fs.rmSync(join(path, ".."), { recursive: true })
      fs.writeFileSync(join(place, "deep"), "in the way")
      yield* look
      assert.strictEqual(journal.condition()._tag, "failing")
      yield* journal.closed(1, record(1))
      fs.rmSync(join(place, "deep"))
      yield* Effect.sleep(5).pipe(Effect.repeat({ until: () => journal.condition()._tag === "ok" }))
      assert.deepInclude(yield* look, leftAnd(1))
    }).pipe(Effect.scoped))

  it.live("is named when it was moved, and a fresh one begins with the same sidecar_id", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      const moved = join(path, "..", "moved.sqlite")
      yield* leave(path)
      const { journal, lines, look } = yield* open(path)
      const [generation, sidecarId] = [journal.generation(), journal.sidecarId()]
      fs.renameSync(path, moved)
      yield* look
      yield* journal.closed(1, record(4))
      assert.deepInclude(yield* look, { delivered: { records: 1, tokens: 4 } })
      assert.match(lines[0]!, /was moved to .*moved\.sqlite; a fresh journal begins\. 2 records with 120 tokens/)
      assert.isAbove(journal.generation(), generation)
      assert.strictEqual(journal.sidecarId(), sidecarId)
      assertTidy(path)
      assert.deepInclude(yield* (yield* open(moved)).look, left)
    }).pipe(Effect.scoped))

  it.live("is carried over into another one that is in its place", () =>
    Effect.gen(function*() {
      const place = yield* journalFolder
      const [path, other] = [join(place, "usage.sqlite"), join(place, "other.sqlite")]
      yield* Effect.scoped(
        Effect.flatMap(open(other), ({ journal }) => journal.closed(1, record(1000, { id: "other" })))
      )
      yield* leave(path)
      const { journal, lines, look } = yield* open(path)
      remove(path)
      fs.renameSync(other, path)
      yield* look
      assert.match(lines.at(-1)!, /is another file .* 2 streams with 120 tokens .* are carried over into it$/)
      assert.sameMembers([...(yield* idsOf(journal))], ["other", "waiting"])
      assertTidy(path)
    }).pipe(Effect.scoped))

  it.live("is left to a sidecar that came in where the lock was removed, and written when that one is gone", () =>
    Effect.gen(function*() {
      const path = join(yield* journalFolder, "usage.sqlite")
      yield* leave(path)
      const { journal, look } = yield* open(path)
      remove(path)
      yield* Effect.scoped(Effect.gen(function*() {
        const second = yield* open(path)
        yield* second.journal.closed(1, record(1000, { id: "second" }))
        yield* journal.closed(1, record(1, { id: "first" }))
        yield* look
        const condition = journal.condition()
        assert.strictEqual(condition._tag === "failing" ? condition.reason : "", "locked")
        assert.strictEqual((yield* second.look).waiting.tokens, 1000)
      }))
      yield* Effect.sleep(5).pipe(Effect.repeat({ until: () => journal.condition()._tag === "ok" }))
      assert.deepInclude(yield* look, {
        waiting: { records: 3, tokens: 1081 },
        setAside: { records: 1, tokens: 40 }
      })
    }).pipe(Effect.scoped))
})
