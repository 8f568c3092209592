import { assert, describe, it } from "@effect/vitest"
import { Copies } from "../../src/http2/copies.ts"

describe("Copies of what was read", () => {
  it("are what was there, whatever their size and however many there are", () => {
    const copies = new Copies()
    const memory = new Uint8Array(70_000)
    const source = memory.subarray(100)
    const lengths = Array.from({ length: 400 }, (_, at) => [0, 1, 63, 500, 2047, 2048, 8192, 60_000][at % 8] ?? 0)
    const taken = lengths.map((length, at) => {
      source.fill(at & 0xff)
      source[7] = 0xaa
      return copies.of(source, 7, 7 + length)
    })
    memory.fill(0xee)
    for (const [at, copy] of taken.entries()) {
      const expected = new Uint8Array(lengths[at] ?? 0).fill(at & 0xff)
      if (expected.length > 0) expected[0] = 0xaa
      assert.deepStrictEqual(copy, expected)
    }
  })

  it("hold on to little else when they are small, and to nothing else when they are large", () => {
    const copies = new Copies()
    const memory = new Uint8Array(65_536)
    for (const length of [1, 60, 2000, 2048, 10_000]) {
      const held = copies.of(memory, 0, length).buffer.byteLength
      assert.isAtMost(held, length < 2048 ? 8192 : length)
    }
  })
})
