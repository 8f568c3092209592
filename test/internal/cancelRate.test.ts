import { assert, beforeEach, describe, it, vi } from "@effect/vitest"
import { afterEach } from "vitest"
import { Http2Connection } from "../../src/http2/connection.ts"
import { Copies } from "../../src/http2/copies.ts"
import { SlabPool } from "../../src/http2/output.ts"
import type { StreamHandler } from "../../src/http2/stream.ts"
import { CancelRate } from "../../src/internal/http2/cancelRate.ts"

const nothing = () => {}
const handler: StreamHandler = {
  onHeaders: nothing,
  onData: () => true,
  onEnd: nothing,
  onReset: nothing,
  onDrain: nothing
}

/** A client whose peer is not there: streams that are open, and what it says. */
const client = () =>
  new Http2Connection(
    { role: "client", pool: new SlabPool(), copies: new Copies(), now: 0 },
    { onOutput: nothing, onPressure: nothing, onArrivals: nothing, onEnd: nothing },
    {
      onReady: nothing,
      onRequest: nothing,
      onGoaway: nothing,
      onLimit: nothing,
      onForeign: nothing,
      onIdle: nothing,
      onClose: nothing
    }
  )

describe("CancelRate", () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  const world = (perSecond: number) => {
    const connection = client()
    let late = 0
    const rate = new CancelRate(perSecond, () => Date.now(), () => late++)
    const streams = (count: number) =>
      Array.from(
        { length: count },
        () => connection.open([":method", "POST", ":scheme", "http", ":path", "/"], handler)!
      )
    return { rate, streams, late: () => late }
  }

  it("resets at once within the burst, and drains what is beyond it until its reset may leave", () => {
    const { late, rate, streams } = world(10)
    const all = streams(60)
    for (const stream of all) rate.cancel(stream)
    assert.deepStrictEqual(all.map((stream) => stream.closed), [...Array(50).fill(true), ...Array(10).fill(false)])
    assert.strictEqual(late(), 10)
    // Our side of them has ended: nobody sends on a call that was cancelled.
    assert.isTrue(all.slice(50).every((stream) => stream.ending))
    vi.advanceTimersByTime(500)
    assert.strictEqual(all.filter((stream) => !stream.closed).length, 5)
    vi.advanceTimersByTime(600)
    assert.isTrue(all.every((stream) => stream.closed))
    assert.strictEqual(vi.getTimerCount(), 0)
  })

  it("never holds a reset back without a limit", () => {
    const { late, rate, streams } = world(0)
    const all = streams(5000)
    for (const stream of all) rate.cancel(stream)
    assert.isTrue(all.every((stream) => stream.closed))
    assert.strictEqual(late(), 0)
  })

  it("holds nothing when it was stopped", () => {
    const { rate, streams } = world(1)
    for (const stream of streams(20)) rate.cancel(stream)
    assert.strictEqual(vi.getTimerCount(), 1)
    rate.stop()
    assert.strictEqual(vi.getTimerCount(), 0)
  })
})
