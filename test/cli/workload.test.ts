import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { whenBusy, wheneverItRests } from "../../src/cli/workload.ts"

/** A process whose event loop is busy for a share of the time, and what was done with it. */
const watched = Effect.fnUntraced(function*(share: number) {
  const process = { share, quiet: 0 }
  const fiber = yield* Effect.forkChild(whenBusy(() => process.share, () => void process.quiet++))
  return {
    /** For so long it is as busy as that; answers whether there was work to do by then. */
    spend: Effect.fnUntraced(function*(millis: number, share: number) {
      process.share = share
      yield* TestClock.adjust(millis)
      return fiber.pollUnsafe() !== undefined
    }),
    times: () => process.quiet,
    end: Fiber.interrupt(fiber)
  }
})

describe("a daemon that has started", () => {
  it.effect("has work to do after 0.3 s under full load, and after 1.5 s with a fifth of it", () =>
    Effect.gen(function*() {
      const loaded = yield* watched(1)
      assert.isFalse(yield* loaded.spend(200, 1))
      assert.isTrue(yield* loaded.spend(100, 1))
      assert.strictEqual(loaded.times(), 0)
      // Twenty streams a second.
      const light = yield* watched(0.055)
      assert.isFalse(yield* light.spend(9000, 0.055))
      assert.isTrue(yield* light.spend(2000, 0.055))
      const half = yield* watched(0.2)
      assert.isFalse(yield* half.spend(1400, 0.2))
      assert.isTrue(yield* half.spend(200, 0.2))
    }))

  it.effect("has none in two hours with timers, a stream now and then, and a scrape every 15 s", () =>
    Effect.gen(function*() {
      const idle = yield* watched(0)
      for (let minute = 0; minute < 120; minute++) {
        for (let scrape = 0; scrape < 4; scrape++) {
          assert.isFalse(yield* idle.spend(100, 0.8))
          assert.isFalse(yield* idle.spend(14_900, 0.02))
        }
      }
      yield* idle.end
    }))

  it.effect("is quiet once, a second after the start's last work, and not again", () =>
    Effect.gen(function*() {
      const starting = yield* watched(0)
      yield* starting.spend(900, 0.02)
      yield* starting.spend(100, 0.3)
      yield* starting.spend(900, 0.02)
      assert.strictEqual(starting.times(), 0)
      yield* starting.spend(100, 0.02)
      assert.strictEqual(starting.times(), 1)
      yield* starting.spend(300, 0.3)
      yield* starting.spend(10_000, 0)
      assert.strictEqual(starting.times(), 1)
      assert.isTrue(yield* starting.spend(300, 1))
    }))
})

describe("a daemon that has had work to do", () => {
  const worker = Effect.fnUntraced(function*() {
    const process = { share: 0, rests: 0 }
    const fiber = yield* Effect.forkChild(wheneverItRests(() => process.share, () => void process.rests++))
    return {
      /** For so long it is as busy as that; answers how often it has rested by then. */
      spend: Effect.fnUntraced(function*(millis: number, share: number) {
        process.share = share
        yield* TestClock.adjust(millis)
        return process.rests
      }),
      end: Fiber.interrupt(fiber)
    }
  })

  it.effect("rests a minute after it, once, and again after the next", () =>
    Effect.gen(function*() {
      const { end, spend } = yield* worker()
      assert.strictEqual(yield* spend(5000, 1), 0)
      assert.strictEqual(yield* spend(59_500, 0.007), 0)
      assert.strictEqual(yield* spend(500, 0.007), 1)
      assert.strictEqual(yield* spend(600_000, 0.007), 1)
      assert.strictEqual(yield* spend(500, 0.3), 1)
      assert.strictEqual(yield* spend(60_000, 0.007), 2)
      yield* end
    }))

  it.effect("does not rest between two bursts, nor while streams flow, nor when it only answers scrapes", () =>
    Effect.gen(function*() {
      const { end, spend } = yield* worker()
      for (let scrape = 0; scrape < 100; scrape++) {
        yield* spend(500, 0.2)
        yield* spend(14_500, 0.007)
      }
      for (let burst = 0; burst < 100; burst++) {
        yield* spend(1000, 1)
        yield* spend(59_500, 0.007)
      }
      assert.strictEqual(yield* spend(600_000, 0.05), 0)
      yield* end
    }))
})
