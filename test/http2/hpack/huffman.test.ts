import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import { CODE_BITS, CODES, EOS } from "../../../src/http2/hpack/huffmanCode.ts"
import { decodedBound, huffmanDecode } from "../../../src/http2/hpack/huffmanDecode.ts"
import { huffmanEncode, huffmanLength } from "../../../src/http2/hpack/huffmanEncode.ts"
import { latin1 } from "../../../src/http2/hpack/latin1.ts"
import { fromHex, toHex } from "./support.ts"

const encoded = (text: string): Uint8Array => {
  const room = new Uint8Array(huffmanLength(text))
  if (huffmanEncode(text, room, 0) !== room.length) assert.fail(`Not of the length foretold: ${text}`)
  return room
}

/** The decoded text, or undefined for what is not of the code. */
const decoded = (bytes: Uint8Array): string | undefined => {
  const room = new Uint8Array(decodedBound(bytes.length))
  const length = huffmanDecode(bytes, 0, bytes.length, room)
  return length < 0 ? undefined : latin1(room, 0, length)
}

const OCTETS = Array.from({ length: 256 }, (_, octet) => String.fromCharCode(octet))

describe("Huffman code (RFC 7541 §5.2, Appendix B)", () => {
  it.for(
    [
      ["0", 0x0, 5],
      ["a", 0x3, 5],
      [" ", 0x14, 6],
      ["z", 0x7b, 7],
      ["&", 0xf8, 8],
      ["!", 0x3f8, 10],
      ["\0", 0x1ff8, 13],
      ["\\", 0x7fff0, 19],
      ["\x01", 0x7fffd8, 23],
      ["\x7f", 0xffffffc, 28],
      ["\n", 0x3ffffffc, 30],
      ["\x16", 0x3ffffffe, 30]
    ] as const
  )("has the appendix's code of %j", ([symbol, code, bits]) => {
    assert.strictEqual(CODES[symbol.charCodeAt(0)], code)
    assert.strictEqual(CODE_BITS[symbol.charCodeAt(0)], bits)
  })

  it("is complete: every bit string is a beginning of something, and EOS is 30 ones", () => {
    assert.strictEqual(CODE_BITS.reduce((sum, bits) => sum + 2 ** -bits, 0), 1)
    assert.strictEqual(CODES[EOS], 0x3fffffff)
  })

  it("carries every octet, alone and beside every other", () => {
    const pairs = OCTETS.flatMap((first) => [first, ...OCTETS.map((second) => first + second)])
    assert.deepStrictEqual(pairs.filter((text) => decoded(encoded(text)) !== text), [])
  })

  it.prop("carries every string of octets", [
    Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))
  ], ([octets]) => {
    const text = latin1(Uint8Array.from(octets), 0, octets.length)
    assert.strictEqual(decoded(encoded(text)), text)
  }, { arbitrary: { runs: 300 } })

  it.prop("gives every accepted string back as the same bytes", [
    Arbitrary.array(Arbitrary.schema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 }))), {
      maxLength: 12
    })
  ], ([octets]) => {
    const bytes = Uint8Array.from(octets)
    const text = decoded(bytes)
    if (text !== undefined) assert.strictEqual(toHex(encoded(text)), toHex(bytes))
  }, { arbitrary: { runs: 2000 } })

  it("accepts up to seven ones as padding", () => {
    assert.strictEqual(decoded(fromHex("1f")), "a") // 00011 111
    assert.strictEqual(decoded(fromHex("")), "")
    assert.strictEqual(decoded(encoded("aaaaa")), "aaaaa") // 25 bits, 7 of padding
  })

  it("refuses padding of eight bits or more", () => {
    assert.isUndefined(decoded(fromHex("ff")))
    assert.isUndefined(decoded(fromHex("1fff")))
    assert.isUndefined(decoded(fromHex("ffff")))
  })

  it("refuses padding that is not of ones", () => {
    assert.isUndefined(decoded(fromHex("18"))) // 00011 000
    assert.isUndefined(decoded(fromHex("1e"))) // 00011 110
  })

  it("refuses EOS, alone and after a symbol", () => {
    assert.isUndefined(decoded(fromHex("ffffffff")))
    assert.isUndefined(decoded(fromHex("fffffffc")))
    assert.isUndefined(decoded(fromHex("1fffffffff")))
  })
})
