import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { HpackError } from "../../../src/http2/hpack/HpackError.ts"
import { seeded } from "../../support/seeded.ts"
import { decode, encode } from "./support.ts"

const int = (minimum: number, maximum: number) => Schema.Int.check(Schema.isBetween({ minimum, maximum }))
const seed = int(0, 0x7fffffff)

type Random = () => number

const below = (random: Random, n: number): number => Math.floor(random() * n)
const oneOf = <A>(random: Random, all: ReadonlyArray<A>): A => all[below(random, all.length)]!

const NAMES = [":path", ":status", "content-type", "grpc-status", "cookie", "x-a", "x-b", "x-c", "x-token", ""]

/** A header list in which some fields repeat and some are new, of any octets. */
const someFields = (random: Random): Array<string> =>
  Array.from({ length: below(random, 12) }, () => {
    const name = random() < 0.8 ? oneOf(random, NAMES) : `n-${below(random, 500)}`
    const long = random() < 0.02 ? 5000 : 60
    const value = random() < 0.6
      ? `v${below(random, 8)}`
      : String.fromCharCode(...Array.from({ length: below(random, long) }, () => below(random, 256)))
    return [name, value]
  }).flat()

const isHpackError = (error: unknown): boolean => error instanceof HpackError

describe("HPACK, by chance", () => {
  it.prop(
    "a connection's lists arrive as they were sent, through every change of the table's size",
    [seed],
    ([seed]) => {
      const random = seeded(seed)
      const own = oneOf(random, [0, 50, 300, 4096, 10_000])
      const encoder = new HpackEncoder(own, {
        huffman: random() < 0.5,
        indexing: random() < 0.5 ? undefined : () => oneOf(random, ["incremental", "without", "never"] as const)
      })
      const decoder = new HpackDecoder(4096)
      for (let block = 0; block < 30; block++) {
        for (let changes = random() < 0.2 ? 1 + below(random, 3) : 0; changes > 0; changes--) {
          const size = oneOf(random, [0, 33, 100, 1000, 4096, 9000])
          decoder.setMaxTableSize(size)
          encoder.setPeerMaxTableSize(size)
        }
        const fields = someFields(random)
        const { answer, fields: arrived } = decode(decoder, encode(encoder, fields))
        assert.strictEqual(answer, "ok")
        assert.deepStrictEqual(arrived, fields)
        assert.strictEqual(decoder.tableSize, encoder.tableSize)
      }
    },
    { arbitrary: { runs: 150 } }
  )

  it.prop("a list over the limit leaves the table as one within it does", [seed], ([seed]) => {
    const random = seeded(seed)
    const encoder = new HpackEncoder(4096, { indexing: () => oneOf(random, ["incremental", "without"] as const) })
    const strict = new HpackDecoder(4096)
    const lax = new HpackDecoder(4096)
    for (let block = 0; block < 20; block++) {
      const fields = someFields(random)
      const bytes = encode(encoder, fields)
      const limit = below(random, 600)
      const all = decode(lax, bytes).fields
      const some = decode(strict, bytes, limit)
      const size = fields.reduce((sum, text) => sum + text.length, 16 * fields.length)
      assert.strictEqual(some.answer, size > limit ? "too-large" : "ok")
      assert.deepStrictEqual(some.fields, all.slice(0, some.fields.length))
      assert.strictEqual(strict.tableSize, lax.tableSize)
    }
  }, { arbitrary: { runs: 150 } })

  it.prop("any bytes are fields or an HpackError, and the table keeps its limit", [
    Arbitrary.array(Arbitrary.schema(int(0, 255)), { maxLength: 64 }),
    int(0, 300)
  ], ([octets, tableSize]) => {
    const decoder = new HpackDecoder(tableSize)
    try {
      decode(decoder, Uint8Array.from(octets), 200)
    } catch (error) {
      assert.isTrue(isHpackError(error), String(error))
    }
    assert.isAtMost(decoder.tableSize, tableSize)
  }, { arbitrary: { runs: 3000 } })

  it.prop("a damaged block is fields or an HpackError", [seed], ([seed]) => {
    const random = seeded(seed)
    const encoder = new HpackEncoder(4096, {
      huffman: true,
      indexing: () => oneOf(random, ["incremental", "never"] as const)
    })
    const decoder = new HpackDecoder(4096)
    for (let block = 0; block < 20; block++) {
      const bytes = encode(encoder, someFields(random))
      for (let flips = below(random, 3); flips > 0; flips--) {
        bytes[below(random, bytes.length)]! ^= 1 << below(random, 8)
      }
      try {
        decode(decoder, random() < 0.2 ? bytes.subarray(0, below(random, bytes.length)) : bytes, 2000)
      } catch (error) {
        assert.isTrue(isHpackError(error), String(error))
        return
      }
      assert.isAtMost(decoder.tableSize, 4096)
    }
  }, { arbitrary: { runs: 300 } })
})
