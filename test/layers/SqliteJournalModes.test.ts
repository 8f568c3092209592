import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as SqliteJournal from "../../src/layers/SqliteJournal.ts"
import { UsageJournal } from "../../src/services/UsageJournal.ts"
import { configLayer, figuresLayer, record } from "../suites/usageSupport.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "usage-"))),
  (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
)

/** A journal with a record in it, until the scope closes. */
const open = (path: string) =>
  Layer.build(Layer.fresh(SqliteJournal.layer.pipe(
    Layer.provideMerge(figuresLayer),
    Layer.provide(configLayer({ journal_path: path }))
  ))).pipe(
    Effect.map(Context.get(UsageJournal)),
    Effect.tap((journal) => journal.closed(1, record(1)))
  )

const modes = (place: string) =>
  Object.fromEntries(
    fs.readdirSync(place).map((name) => [name, (fs.statSync(join(place, name)).mode & 0o777).toString(8)])
  )

/** A lock may have a rollback journal beside it. */
const assertPrivate = (place: string) => {
  const found = modes(place)
  for (const name of ["usage.sqlite", "usage.sqlite-wal", "usage.sqlite-shm", "usage.sqlite.lock"]) {
    assert.property(found, name)
  }
  for (const [name, mode] of Object.entries(found)) assert.strictEqual(mode, "600", name)
}

describe("the files of a journal", () => {
  it.live("are for the sidecar's user alone, and so is a folder that it makes", () =>
    Effect.gen(function*() {
      const outer = yield* folder
      const place = join(outer, "a", "b")
      yield* open(join(place, "usage.sqlite"))
      assertPrivate(place)
      assert.strictEqual(modes(outer)["a"], "700")
      assert.strictEqual(modes(join(outer, "a"))["b"], "700")
    }).pipe(Effect.scoped))

  it.live("are made so where an earlier version left them open to others", () =>
    Effect.gen(function*() {
      const place = yield* folder
      yield* Effect.scoped(open(join(place, "usage.sqlite")))
      fs.chmodSync(place, 0o755)
      for (const name of fs.readdirSync(place)) fs.chmodSync(join(place, name), 0o664)
      yield* open(join(place, "usage.sqlite"))
      assertPrivate(place)
      // The folder may be somebody else's too.
      assert.strictEqual(fs.statSync(place).mode & 0o777, 0o755)
    }).pipe(Effect.scoped))

  it.live("are so when they had to be written again", () =>
    Effect.gen(function*() {
      const place = yield* folder
      const journal = yield* open(join(place, "usage.sqlite"))
      for (const name of fs.readdirSync(place)) fs.rmSync(join(place, name))
      yield* journal.balance
      yield* journal.closed(2, record(2))
      assertPrivate(place)
    }).pipe(Effect.scoped))
})
