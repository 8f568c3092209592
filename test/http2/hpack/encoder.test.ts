import { assert, describe, it } from "@effect/vitest"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { decode, encode, toHex } from "./support.ts"

const REQUEST = Object.entries({
  ":method": "POST",
  ":scheme": "http",
  ":path": "/cy.llm.AiInference/StreamPredict",
  ":authority": "worker",
  "content-type": "application/grpc",
  te: "trailers",
  "user-agent": "x",
  "x-tenant": "seven"
}).flat()

describe("HpackEncoder", () => {
  it("needs one octet a field once a list has come twice", () => {
    const encoder = new HpackEncoder()
    encode(encoder, REQUEST)
    encode(encoder, REQUEST)
    assert.strictEqual(encode(encoder, REQUEST).length, REQUEST.length / 2)
  })

  it("indexes at first sight the fields that are steady by nature", () => {
    const encoder = new HpackEncoder()
    const trailers = ["grpc-status", "0"]
    encode(encoder, trailers)
    assert.strictEqual(encode(encoder, trailers).length, 1)
  })

  it("learns values of one name that alternate", () => {
    const encoder = new HpackEncoder()
    const reasons = ["completed", "cancelled", "deadline"]
    for (const reason of [...reasons, ...reasons]) encode(encoder, ["x-reason", reason])
    for (const reason of reasons) assert.strictEqual(encode(encoder, ["x-reason", reason]).length, 1)
  })

  it("never lets values that are new each time push the others out", () => {
    const encoder = new HpackEncoder()
    encode(encoder, REQUEST)
    encode(encoder, REQUEST)
    const size = encoder.tableSize
    for (let i = 0; i < 1000; i++) encode(encoder, [...REQUEST, "x-request-id", `id-${i}`, `x-new-${i}`, "value"])
    assert.strictEqual(encoder.tableSize, size)
    assert.strictEqual(encode(encoder, REQUEST).length, REQUEST.length / 2)
  })

  it.for([
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-auth-token",
    "token",
    "x-api-key",
    "api_key",
    "x-amz-security-token",
    "client-secret",
    "password",
    "session-token-bin"
  ])("never indexes %s, and says so to whoever forwards it", (name) => {
    const encoder = new HpackEncoder()
    const decoder = new HpackDecoder(4096)
    for (let i = 0; i < 4; i++) {
      const { fields, sensitive } = decode(decoder, encode(encoder, [name, "Bearer 123"]))
      assert.deepStrictEqual(fields, [name, "Bearer 123"])
      assert.deepStrictEqual(sensitive, [name])
    }
    assert.strictEqual(encoder.tableSize, 0)
    assert.strictEqual(decoder.tableSize, 0)
  })

  it.for(["x-tokens-used", "keyboard", "x-request-id", "tokenizer"])("does not take %s for a secret", (name) => {
    assert.deepStrictEqual(decode(new HpackDecoder(4096), encode(new HpackEncoder(), [name, "1"])).sensitive, [])
  })

  it("never indexes what the caller calls sensitive, were it in the table already (RFC 7541 §6.2.3)", () => {
    const encoder = new HpackEncoder()
    const decoder = new HpackDecoder(4096)
    for (let i = 0; i < 3; i++) decode(decoder, encode(encoder, ["x-tenant", "seven"]))
    assert.deepStrictEqual(decode(decoder, encode(encoder, ["x-tenant", "seven"], new Set(["x-tenant"]))), {
      answer: "ok",
      fields: ["x-tenant", "seven"],
      sensitive: ["x-tenant"]
    })
  })

  it("indexes nothing that would fill more than a quarter of the table", () => {
    const encoder = new HpackEncoder()
    for (let i = 0; i < 3; i++) encode(encoder, [":path", "x".repeat(1024)])
    assert.strictEqual(encoder.tableSize, 0)
  })

  it("remembers neither long names nor long values", () => {
    const encoder = new HpackEncoder()
    for (let i = 0; i < 3; i++) encode(encoder, ["n".repeat(129), "value", "x-long", "v".repeat(129)])
    assert.strictEqual(encoder.tableSize, 0)
  })

  it("sends a code unit beyond latin1 as a question mark, never as the octet of its low half", () => {
    for (const huffman of [false, true]) {
      const block = encode(new HpackEncoder(4096, { huffman }), ["a", "x\u010a\u{1f600}"])
      assert.deepStrictEqual(decode(new HpackDecoder(4096), block).fields, ["a", "x???"])
    }
  })

  describe("room", () => {
    it("is enough at the bound, and one octet less changes nothing", () => {
      const fields = [...REQUEST, "a".repeat(300), "b".repeat(20_000)]
      const bound = HpackEncoder.bound(fields)
      const encoder = new HpackEncoder()
      encoder.setPeerMaxTableSize(100)
      const small = new Uint8Array(bound - 1)
      assert.strictEqual(encoder.encode(fields, small, 0), -1)
      assert.strictEqual(encoder.encode(fields, new Uint8Array(bound + 9), 10), -1)
      assert.strictEqual(encoder.tableSize, 0)
      assert.isTrue(small.every((octet) => octet === 0))
      const decoder = new HpackDecoder(4096)
      decoder.setMaxTableSize(100)
      assert.deepStrictEqual(decode(decoder, encode(encoder, fields)).fields, fields)
    })

    it("is used from the offset on", () => {
      const room = new Uint8Array(100).fill(0xee)
      assert.strictEqual(new HpackEncoder().encode([":method", "GET"], room, 7), 8)
      assert.strictEqual(toHex(room.subarray(6, 9)), "ee82ee")
    })
  })

  describe("size updates (RFC 7541 §4.2)", () => {
    it("announces a smaller table in the next block, once", () => {
      const encoder = new HpackEncoder()
      encoder.setPeerMaxTableSize(100)
      assert.strictEqual(toHex(encode(encoder, [":method", "GET"])), "3f4582")
      assert.strictEqual(toHex(encode(encoder, [":method", "GET"])), "82")
    })
    it("announces the smallest and the last when the peer changed its mind between two blocks", () => {
      const encoder = new HpackEncoder()
      for (const size of [100, 0, 50, 4096]) encoder.setPeerMaxTableSize(size)
      assert.strictEqual(toHex(encode(encoder, [])), "203fe11f")
    })
    it("announces a table of its own that is smaller than the default", () => {
      assert.strictEqual(toHex(encode(new HpackEncoder(0), [])), "20")
    })
    it("never uses more than its own maximum, and says nothing when nothing changes", () => {
      const encoder = new HpackEncoder()
      encoder.setPeerMaxTableSize(1 << 20)
      assert.strictEqual(toHex(encode(encoder, [":method", "GET"])), "82")
    })
    it("grows to its own maximum when the peer allows it", () => {
      const encoder = new HpackEncoder(16_384)
      assert.strictEqual(toHex(encode(encoder, [])), "")
      encoder.setPeerMaxTableSize(65_536)
      assert.strictEqual(toHex(encode(encoder, [])), "3fe17f")
    })
    it("evicts at once, and what was evicted is sent anew", () => {
      const encoder = new HpackEncoder()
      const decoder = new HpackDecoder(4096)
      decode(decoder, encode(encoder, REQUEST))
      encoder.setPeerMaxTableSize(0)
      encoder.setPeerMaxTableSize(4096)
      decoder.setMaxTableSize(0)
      decoder.setMaxTableSize(4096)
      assert.strictEqual(encoder.tableSize, 0)
      assert.deepStrictEqual(decode(decoder, encode(encoder, REQUEST)).fields, REQUEST)
      assert.strictEqual(decoder.tableSize, encoder.tableSize)
    })
  })
})
