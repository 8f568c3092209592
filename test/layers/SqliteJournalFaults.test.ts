import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer } from "effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { Worker } from "node:worker_threads"
import { unpackCounts } from "../../src/internal/usage/counts.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import * as JournalMeter from "../../src/layers/JournalMeter.ts"
import * as SqliteJournal from "../../src/layers/SqliteJournal.ts"
import { JournalError, UsageJournal } from "../../src/services/UsageJournal.ts"
import { UsageMeter } from "../../src/services/UsageMeter.ts"
import { configLayer, figuresLayer, identity, type MeteringOptions, packed, record } from "../suites/usageSupport.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "usage-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

const layer = (path: string, metering: MeteringOptions = {}) =>
  SqliteJournal.layer.pipe(
    Layer.provideMerge(figuresLayer),
    Layer.provide(configLayer({ billing_endpoint: "http://billing.test", ...metering, journal_path: path }))
  )

/** A journal that lives until the scope closes. */
const open = (path: string, metering?: MeteringOptions) =>
  Effect.map(Layer.build(Layer.fresh(layer(path, metering))), (context) => Context.get(context, UsageJournal))

/** What opening the journal fails with. */
const refusal = (path: string) =>
  Effect.scoped(open(path)).pipe(
    Effect.exit,
    Effect.map((exit) => {
      if (Exit.isSuccess(exit)) throw new Error("it opened")
      const [reason] = exit.cause.reasons
      if (reason?._tag !== "Fail" || !(reason.error instanceof JournalError)) throw new Error(String(exit.cause))
      return reason.error
    })
  )

/** Looks again every few milliseconds: for what another thread does. */
const until = <A, E>(look: Effect.Effect<A, E>, wanted: (value: A) => boolean): Effect.Effect<A, E> =>
  Effect.filterOrElse(look, wanted, () => Effect.andThen(Effect.sleep(5), until(look, wanted)))

const batchOf = (journal: UsageJournal["Service"]) =>
  Effect.map(journal.nextBatch(1000), (batch) => batch?.records ?? [])

/** The thread that writes a journal opened within `body`. */
const withThreads = <A, E, R>(body: (threads: ReadonlyArray<Worker>) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => {
      const threads: Array<Worker> = []
      const seen = (worker: Worker) => void threads.push(worker)
      process.on("worker", seen)
      return { threads, seen }
    }),
    ({ threads }) => body(threads),
    ({ seen }) => Effect.sync(() => void process.off("worker", seen))
  )

describe("SqliteJournal", () => {
  it.live("finds what was closed before it was opened again, with the same sidecar_id", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "deep/er/usage.sqlite")
      const one = record(7)
      const id = yield* Effect.scoped(Effect.gen(function*() {
        const journal = yield* open(path)
        yield* journal.closed(1, one)
        return journal.sidecarId()
      }))
      const journal = yield* open(path)
      assert.deepStrictEqual(yield* batchOf(journal), [{ ...one, sidecar_id: id }])
      assert.strictEqual(journal.sidecarId(), id)
    }).pipe(Effect.scoped))

  it.live("closes the streams of a process that died as interrupted, with their last count", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      yield* Effect.scoped(Effect.gen(function*() {
        const journal = yield* open(path)
        const tally = new Tally(1, "one", 1000)
        tally.identity = identity({ tenant: "acme" })
        tally.chunks = 5
        tally.bytes = 50
        tally.replays = 1
        tally.ttftMillis = 12
        const silent = new Tally(2, "two", 2000)
        journal.opened(tally)
        journal.opened(silent)
        journal.checkpoint(packed(tally))
        yield* journal.closed(3, record(1))
      }))
      const journal = yield* open(path)
      const found = (yield* batchOf(journal)).filter(({ outcome }) => outcome === "interrupted")
      assert.deepStrictEqual(
        found.map((one) => [
          one.record_id,
          one.tenant,
          one.tokens_generated,
          one.bytes,
          one.replays,
          one.ttft_ms,
          one.grpc_status,
          one.started_at
        ]),
        [
          ["one", "acme", 5, 50, 1, 12, 14, "1970-01-01T00:00:01.000Z"],
          ["two", "", 0, 0, 0, null, 14, "1970-01-01T00:00:02.000Z"]
        ]
      )
    }).pipe(Effect.scoped))

  it.live("refuses a second sidecar on the same file, and lets it in after the first", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      yield* Effect.scoped(Effect.gen(function*() {
        yield* open(path)
        const error = yield* refusal(path)
        assert.strictEqual(error.reason, "locked")
        assert.include(error.message, `[metering] journal_path = "${path}"`)
        assert.include(error.message, `process ${process.pid}`)
      }))
      assert.deepStrictEqual((yield* open(path)).condition(), { _tag: "ok" })
    }).pipe(Effect.scoped))

  it.live("refuses a path that can never work, in one line with the key", () =>
    Effect.gen(function*() {
      const place = yield* folder
      fs.writeFileSync(join(place, "file"), "")
      for (const path of [place, join(place, "file", "usage.sqlite")]) {
        const error = yield* refusal(path)
        assert.strictEqual(error.reason, "not_a_file")
        assert.notInclude(error.message, "\n")
        assert.include(error.message, "[metering] journal_path")
      }
    }).pipe(Effect.scoped))

  it.live("refuses another program's database, and one of a newer sidecar, without touching it", () =>
    Effect.gen(function*() {
      const place = yield* folder
      const foreign = join(place, "foreign.sqlite")
      const other = new DatabaseSync(foreign)
      other.exec("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)")
      other.close()
      assert.strictEqual((yield* refusal(foreign)).reason, "foreign")
      const rows = new DatabaseSync(foreign)
      assert.strictEqual(rows.prepare("SELECT COUNT(*) AS n FROM mine").get()?.["n"], 1)
      rows.close()

      const newer = join(place, "newer.sqlite")
      yield* Effect.scoped(open(newer))
      const changed = new DatabaseSync(newer)
      changed.exec("PRAGMA user_version = 99")
      changed.close()
      assert.strictEqual((yield* refusal(newer)).reason, "newer")
    }).pipe(Effect.scoped))

  it.live("sets a damaged file aside under a dated name and begins a fresh one", () =>
    Effect.gen(function*() {
      const place = yield* folder
      const path = join(place, "usage.sqlite")
      const garbage = "this is no database ".repeat(500)
      fs.writeFileSync(path, garbage)
      const journal = yield* open(path)
      yield* journal.closed(1, record(3))
      assert.strictEqual((yield* batchOf(journal)).length, 1)
      const aside = fs.readdirSync(place).filter((name) => /^usage\.sqlite\.corrupt-\d{8}T\d{6}Z$/.test(name))
      assert.strictEqual(aside.length, 1)
      assert.strictEqual(fs.readFileSync(join(place, aside[0]!), "utf8"), garbage)
    }).pipe(Effect.scoped))

  it.live("starts another writer when the thread dies, and writes everything once", () =>
    withThreads((threads) =>
      Effect.gen(function*() {
        const journal = yield* open(join(yield* folder, "usage.sqlite"))
        const records = Array.from({ length: 60 }, (_, index) => record(index))
        for (const [index, one] of records.entries()) {
          if (index % 20 === 10) {
            yield* until(Effect.sync(() => journal.condition()), ({ _tag }) => _tag === "ok")
            yield* Effect.promise(() => threads.at(-1)!.terminate())
          }
          yield* journal.closed(index + 1, one)
        }
        yield* until(Effect.sync(() => journal.condition()), ({ _tag }) => _tag === "ok")
        const { delivered, unsaved } = yield* until(journal.balance, (balance) => balance.unsaved.records === 0)
        assert.deepStrictEqual(delivered, { records: 60, tokens: 1770 })
        assert.deepStrictEqual(unsaved, { records: 0, tokens: 0 })
        assert.deepStrictEqual(
          (yield* batchOf(journal)).map((one) => one.record_id),
          records.map((one) => one.record_id)
        )
        assert.isAtLeast(threads.length, 4)
      })
    ).pipe(Effect.scoped))

  it.live("writes counters that come alone, those that a dying thread took with it as well", () =>
    withThreads((threads) =>
      Effect.gen(function*() {
        const path = join(yield* folder, "usage.sqlite")
        const journal = yield* open(path)
        const reader = yield* Effect.acquireRelease(
          Effect.sync(() => new DatabaseSync(path, { readOnly: true })),
          (db) => Effect.sync(() => db.close())
        )
        const saved = Effect.sync(() => {
          const counts = reader.prepare("SELECT counts FROM checkpoint").get()?.["counts"]
          return counts instanceof Uint8Array ? unpackCounts(counts)[0]?.chunks : undefined
        })
        const tally = new Tally(1, "one", 0)
        for (tally.chunks = 1; tally.chunks <= 12; tally.chunks++) {
          yield* until(Effect.sync(() => journal.condition()), ({ _tag }) => _tag === "ok")
          journal.checkpoint(packed(tally))
          // The thread may have it, or not yet.
          if (tally.chunks % 3 === 0) yield* Effect.promise(() => threads.at(-1)!.terminate())
          yield* until(saved, (chunks) => chunks === tally.chunks)
        }
        assert.isAtLeast(threads.length, 4)
      })
    ).pipe(Effect.scoped))
})

describe("a stream that runs while the journal's file is replaced", () => {
  it.live("is in the new file as well, with its count", () =>
    Effect.gen(function*() {
      const path = join(yield* folder, "usage.sqlite")
      yield* Effect.scoped(Effect.gen(function*() {
        const context = yield* Layer.build(Layer.fresh(JournalMeter.layer.pipe(Layer.provideMerge(layer(path)))))
        const journal = Context.get(context, UsageJournal)
        const tally = Context.get(context, UsageMeter).open()
        tally.identity = identity({ traceId: "long" })
        yield* journal.closed(99, record(1))
        fs.renameSync(path, `${path}.old`)
        yield* journal.balance
        tally.chunks = 8
        tally.bytes = 80
        const running = Effect.sync(() => {
          const reader = new DatabaseSync(path, { readOnly: true })
          const rows = reader.prepare("SELECT trace_id FROM open_streams, checkpoint").all()
          reader.close()
          return rows.length
        }).pipe(Effect.catchDefect(() => Effect.succeed(0)))
        yield* until(running, (rows) => rows === 1)
      }))
      const journal = yield* open(path)
      assert.deepStrictEqual(
        (yield* batchOf(journal)).map((one) => [one.trace_id, one.outcome, one.tokens_generated]),
        [["long", "interrupted", 8]]
      )
    }).pipe(Effect.scoped))
})

/** A file system of 256 KiB, where this user may mount one. */
const smallDisk = Effect.acquireRelease(
  Effect.sync(() => {
    const path = fs.mkdtempSync(join(tmpdir(), "usage-disk-"))
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "usage-test", path]).status === 0
    return { path, mounted }
  }),
  ({ mounted, path }) =>
    Effect.sync(() => {
      if (mounted) spawnSync("umount", ["-l", path])
      fs.rmSync(path, { recursive: true, force: true })
    })
)

const canMount = Effect.runSync(Effect.scoped(Effect.map(smallDisk, ({ mounted }) => mounted)))

describe.skipIf(!canMount)("SqliteJournal on a file system of its own", () => {
  const remount = (path: string, mode: "ro" | "rw") =>
    assert.strictEqual(spawnSync("mount", ["-o", `remount,${mode}`, path]).status, 0)

  const closeMany = (journal: UsageJournal["Service"], first: number, count: number) =>
    Effect.forEach(
      Array.from({ length: count }, (_, index) => first + index),
      (slot) => journal.closed(slot, record(1)),
      { concurrency: "unbounded", discard: true }
    )

  it.live("counts in memory while the disk is full, and writes everything when space is back", () =>
    Effect.gen(function*() {
      const disk = yield* smallDisk
      const journal = yield* open(join(disk.path, "usage.sqlite"))
      yield* closeMany(journal, 1, 100)
      const ballast = join(disk.path, "ballast")
      assert.throws(() => fs.writeFileSync(ballast, Buffer.alloc(512 * 1024)), /ENOSPC/)
      let streams = 100
      while (journal.condition()._tag === "ok") {
        yield* closeMany(journal, streams + 1, 100)
        streams += 100
      }
      yield* closeMany(journal, streams + 1, 300)
      streams += 300
      const condition = journal.condition()
      assert.strictEqual(condition._tag === "failing" ? condition.reason : "", "full")
      const during = yield* journal.balance
      assert.deepStrictEqual(during.delivered, { records: streams, tokens: streams })
      assert.strictEqual(during.waiting.tokens, streams)
      assert.isAtLeast(during.unsaved.tokens, 300)

      fs.rmSync(ballast)
      const mounted = spawnSync("mount", ["-o", "remount,size=32m", disk.path])
      assert.strictEqual(mounted.status, 0)
      yield* until(Effect.sync(() => journal.condition()), ({ _tag }) => _tag === "ok")
      const after = yield* until(journal.balance, (balance) => balance.unsaved.records === 0)
      assert.deepStrictEqual(after.delivered, { records: streams, tokens: streams })
      assert.deepStrictEqual(after.waiting, { records: streams, tokens: streams })
    }).pipe(Effect.scoped))

  it.live("starts in a folder that cannot be written, says so, and writes once it can", () =>
    Effect.gen(function*() {
      const disk = yield* smallDisk
      remount(disk.path, "ro")
      const journal = yield* open(join(disk.path, "usage.sqlite"))
      const condition = journal.condition()
      assert.strictEqual(condition._tag === "failing" ? condition.reason : "", "readonly")
      yield* closeMany(journal, 1, 5)
      remount(disk.path, "rw")
      yield* until(Effect.sync(() => journal.condition()), ({ _tag }) => _tag === "ok")
      assert.strictEqual((yield* until(batchOf(journal), (batch) => batch.length > 0)).length, 5)
    }).pipe(Effect.scoped))
})
