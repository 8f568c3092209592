import { describe, expect, it } from "vitest"
import { makeCountsPacker, unpackCounts } from "../../src/internal/usage/counts.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import { packed } from "../suites/usageSupport.ts"

const told = Object.assign(new Tally(3_000_000_000, "b", 0), {
  chunks: 127,
  bytes: Number.MAX_SAFE_INTEGER,
  notices: 128,
  replays: 1,
  heldMillis: 16_383.6,
  ttftMillis: 0,
  promptTokens: 0,
  workerTokens: 2 ** 31
})

describe("the counts of a checkpoint", () => {
  it("come back as they were, unknown ones as -1", () => {
    const packer = makeCountsPacker()
    const fresh = new Tally(1, "a", 0)
    for (let again = 0; again < 2; again++) {
      packer.add(fresh)
      packer.add(told)
      expect(unpackCounts(packer.take())).toEqual([
        {
          slot: 1,
          tokens: 0,
          promptTokens: -1,
          chunks: 0,
          bytes: 0,
          notices: 0,
          replays: 0,
          heldMillis: 0,
          ttftMillis: -1,
          byWorker: 0
        },
        {
          slot: 3_000_000_000,
          tokens: 2 ** 31,
          promptTokens: 0,
          chunks: 127,
          bytes: Number.MAX_SAFE_INTEGER,
          notices: 128,
          replays: 1,
          heldMillis: 16_384,
          ttftMillis: 0,
          byWorker: 1
        }
      ])
    }
  })

  it("of thousands of streams take some 15 bytes each", () => {
    const tallies = Array.from(
      { length: 5000 },
      (_, n) => Object.assign(new Tally(n + 1, "x", 0), { chunks: n, bytes: n * 60, ttftMillis: 12 })
    )
    const counts = packed(...tallies)
    expect(counts.length).toBeLessThan(5000 * 15)
    const rows = unpackCounts(counts)
    expect(rows.map(({ slot }) => slot)).toEqual(tallies.map(({ slot }) => slot))
    expect(rows.every(({ bytes, tokens }, n) => tokens === n && bytes === n * 60)).toBe(true)
  })

  it("leave out the stream in which they were cut off", () => {
    const counts = packed(new Tally(1, "a", 0), told)
    for (let length = 10; length < counts.length; length++) {
      expect(unpackCounts(counts.subarray(0, length)).map(({ slot }) => slot)).toEqual([1])
    }
  })
})
