import { assert, describe, it } from "@effect/vitest"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder, type HpackEncoderOptions } from "../../../src/http2/hpack/HpackEncoder.ts"
import type { Indexing } from "../../../src/http2/hpack/indexing.ts"
import { writeInteger } from "../../../src/http2/hpack/integer.ts"
import { decode, encode, type FlatFields, fromHex, toHex } from "./support.ts"

/** The examples of RFC 7541, Appendix C, each in both directions: bytes to fields, and the same bytes from the fields. */
describe("RFC 7541, Appendix C", () => {
  describe("C.1 Integer Representation", () => {
    const cases = [
      ["C.1.1 encodes 10 with a 5-bit prefix", 10, 0x1f, "0a"],
      ["C.1.2 encodes 1337 with a 5-bit prefix", 1337, 0x1f, "1f9a0a"],
      ["C.1.3 encodes 42 at an octet's beginning", 42, 0xff, "2a"]
    ] as const
    it.for(cases)("%s", ([, value, mask, hex]) => {
      const room = new Uint8Array(8)
      assert.strictEqual(toHex(room.subarray(0, writeInteger(value, 0, mask, room, 0))), hex)
    })

    // An integer with a 5-bit prefix on the wire is a table size update; the limit tells which value was understood.
    it.for(cases.slice(0, 2))("%s, and back", ([, value, , hex]) => {
      const block = fromHex(hex)
      block[0] = (block[0] ?? 0) | 0x20
      assert.strictEqual(new HpackDecoder(value).decode(block, 0, () => {}), "ok")
      assert.throws(() => new HpackDecoder(value - 1).decode(block, 0, () => {}), /beyond the limit/)
    })
  })

  interface Step {
    readonly fields: FlatFields
    readonly hex: string
    /** The dynamic table's size afterwards, as the RFC states it. */
    readonly size: number
  }

  const both = (name: string, tableSize: number, options: HpackEncoderOptions, steps: ReadonlyArray<Step>) => {
    it(`${name}: decodes`, () => {
      const decoder = new HpackDecoder(tableSize)
      for (const { fields, hex, size } of steps) {
        assert.deepStrictEqual(decode(decoder, fromHex(hex)).fields, fields)
        assert.strictEqual(decoder.tableSize, size)
      }
    })

    it(`${name}: encodes`, () => {
      const encoder = new HpackEncoder(tableSize, options)
      // The RFC's smaller table was agreed on before; ours is announced first.
      if (tableSize < 4096) assert.strictEqual(toHex(encode(encoder, [])), "3fe101")
      for (const { fields, hex, size } of steps) {
        assert.strictEqual(toHex(encode(encoder, fields)), hex.replaceAll(/\s/g, ""))
        assert.strictEqual(encoder.tableSize, size)
      }
    })
  }

  const always = (indexing: Indexing): HpackEncoderOptions => ({ indexing: () => indexing })

  describe("C.2 Header Field Representation", () => {
    both("C.2.1 Literal Header Field with Indexing", 4096, always("incremental"), [{
      fields: ["custom-key", "custom-header"],
      hex: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
      size: 55
    }])
    both("C.2.2 Literal Header Field without Indexing", 4096, always("without"), [{
      fields: [":path", "/sample/path"],
      hex: "040c 2f73 616d 706c 652f 7061 7468",
      size: 0
    }])
    both("C.2.3 Literal Header Field Never Indexed", 4096, always("never"), [{
      fields: ["password", "secret"],
      hex: "1008 7061 7373 776f 7264 0673 6563 7265 74",
      size: 0
    }])
    both("C.2.4 Indexed Header Field", 4096, {}, [{ fields: [":method", "GET"], hex: "82", size: 0 }])

    it("C.2.3: the decoder tells that the field is sensitive", () => {
      const block = fromHex("1008 7061 7373 776f 7264 0673 6563 7265 74")
      assert.deepStrictEqual(decode(new HpackDecoder(4096), block).sensitive, ["password"])
    })
  })

  const list = (fields: Readonly<Record<string, string>>): FlatFields => Object.entries(fields).flat()

  const site = { ":authority": "www.example.com" }
  const requests = [
    list({ ":method": "GET", ":scheme": "http", ":path": "/", ...site }),
    list({ ":method": "GET", ":scheme": "http", ":path": "/", ...site, "cache-control": "no-cache" }),
    list({ ":method": "GET", ":scheme": "https", ":path": "/index.html", ...site, "custom-key": "custom-value" })
  ]
  const requestSteps = (...hex: ReadonlyArray<string>): ReadonlyArray<Step> =>
    [57, 110, 164].map((size, i) => ({ fields: requests[i] ?? [], hex: hex[i] ?? "", size }))

  both(
    "C.3 Request Examples without Huffman Coding",
    4096,
    always("incremental"),
    requestSteps(
      "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "8286 84be 5808 6e6f 2d63 6163 6865",
      "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65"
    )
  )
  both(
    "C.4 Request Examples with Huffman Coding",
    4096,
    { ...always("incremental"), huffman: true },
    requestSteps(
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
      "8286 84be 5886 a8eb 1064 9cbf",
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"
    )
  )

  const moved = {
    "cache-control": "private",
    date: "Mon, 21 Oct 2013 20:13:21 GMT",
    location: "https://www.example.com"
  }
  const responses = [
    list({ ":status": "302", ...moved }),
    list({ ":status": "307", ...moved }),
    list({
      ":status": "200",
      ...moved,
      date: "Mon, 21 Oct 2013 20:13:22 GMT",
      "content-encoding": "gzip",
      "set-cookie": "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
    })
  ]
  const responseSteps = (...hex: ReadonlyArray<string>): ReadonlyArray<Step> =>
    [222, 222, 215].map((size, i) => ({ fields: responses[i] ?? [], hex: hex[i] ?? "", size }))

  both(
    "C.5 Response Examples without Huffman Coding",
    256,
    always("incremental"),
    responseSteps(
      "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133" +
        "2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "4803 3330 37c1 c0bf",
      "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738" +
        "666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765" +
        "3d33 3630 303b 2076 6572 7369 6f6e 3d31"
    )
  )
  both(
    "C.6 Response Examples with Huffman Coding",
    256,
    { ...always("incremental"), huffman: true },
    responseSteps(
      "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff" +
        "6e91 9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
      "4883 640e ffc1 c0bf",
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad" +
        "94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5" +
        "b106 3d50 07"
    )
  )
})
