import { assert, describe, it } from "@effect/vitest"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { HpackError } from "../../../src/http2/hpack/HpackError.ts"
import { decode, encode, fromHex } from "./support.ts"

const refuses = (hex: string, because: RegExp, decoder = new HpackDecoder(4096)): void => {
  const error = (() => {
    try {
      decode(decoder, fromHex(hex))
    } catch (thrown) {
      return thrown
    }
    return undefined
  })()
  assert.instanceOf(error, HpackError)
  assert.match(error.message, because)
}

describe("HpackDecoder", () => {
  describe("integers (RFC 7541 §5.1)", () => {
    it("refuses one that goes on for too long, were it only zeros", () => {
      refuses("ff8080808000", /too long/)
      refuses("ffffffffffffffffffff7f", /too long/)
    })

    it("refuses one that the block's end cuts", () => {
      refuses("ff", /inside an integer/)
      refuses("ff80", /inside an integer/)
      refuses("007f", /inside an integer/)
    })

    it("reads leading zeros within the limit", () => {
      // Index 62 as 63 would need an entry; 0x7f with a continuation of zero is 127.
      refuses("ff00", /without an entry/)
      assert.deepStrictEqual(decode(new HpackDecoder(4096), fromHex("0f80000178")).fields, ["accept-charset", "x"])
    })
  })

  describe("indexes (RFC 7541 §2.3.3, §6.1)", () => {
    it("refuses index 0", () => refuses("80", /without an entry/))
    it("refuses an index beyond the static table while the dynamic one is empty", () =>
      refuses("be", /without an entry/))
    it("reads the last of the static table", () => {
      assert.deepStrictEqual(decode(new HpackDecoder(4096), fromHex("bd")).fields, ["www-authenticate", ""])
    })
    it("refuses a name index beyond the tables", () => {
      refuses("7e0178", /without an entry/)
      refuses("0f2f0178", /without an entry/)
    })
    it("refuses the largest index that an integer can carry", () => refuses("ffffffff7f", /without an entry/))
    it("refuses the index of an entry that was evicted", () => {
      const decoder = new HpackDecoder(40)
      assert.deepStrictEqual(decode(decoder, fromHex("4001610162 be")).fields, ["a", "b", "a", "b"])
      decode(decoder, fromHex("4001630164")) // evicts a: b
      refuses("bf", /without an entry/, decoder)
    })
  })

  describe("strings (RFC 7541 §5.2)", () => {
    it("refuses one that is longer than its block", () => {
      refuses("0005616263", /longer than its block/)
      refuses("007f80ffff7f", /longer than its block/)
    })
    it("refuses a block that ends before a name, before a value", () => {
      refuses("00", /before a string/)
      refuses("04", /before a string/)
      refuses("000161", /before a string/)
    })
    it("refuses Huffman padding that is too long or not of ones, and EOS", () => {
      refuses("0482 1fff", /Huffman/)
      refuses("0481 18", /Huffman/)
      refuses("0484 ffff ffff", /Huffman/)
    })
    it("reads empty names and values, and calls the field with the empty name malformed", () => {
      const decoder = new HpackDecoder(4096)
      assert.deepStrictEqual(decode(decoder, fromHex("000000")).fields, ["", ""])
      assert.isTrue(decoder.malformed)
    })
    it("makes one code unit of each octet", () => {
      const octets = Array.from({ length: 256 }, (_, i) => i)
      const block = Uint8Array.from([0x04, 0x7f, 0x81, 0x01, ...octets])
      assert.deepStrictEqual(decode(new HpackDecoder(4096), block).fields, [":path", String.fromCharCode(...octets)])
    })
    it("takes a platform's own way to make strings", () => {
      const decoder = new HpackDecoder(4096, (bytes, start, end) => `<${end - start}>${bytes[start]}`)
      assert.deepStrictEqual(decode(decoder, fromHex("0003616263 0164")).fields, ["<3>97", "<1>100"])
    })
  })

  describe("the dynamic table (RFC 7541 §4)", () => {
    it("empties for an entry that is larger than itself, which is no error (§4.4)", () => {
      const decoder = new HpackDecoder(64)
      decode(decoder, fromHex("4001610162"))
      assert.strictEqual(decoder.tableSize, 34)
      const long = "78".repeat(40)
      assert.strictEqual(decode(decoder, fromHex(`40016128${long}`)).fields[1], "x".repeat(40))
      assert.strictEqual(decoder.tableSize, 0)
    })
    it("keeps the name of the entry that its own insertion evicts (§4.4)", () => {
      const decoder = new HpackDecoder(36)
      decode(decoder, fromHex("4001610162"))
      assert.deepStrictEqual(decode(decoder, fromHex("7e0163")).fields, ["a", "c"])
      assert.deepStrictEqual(decode(decoder, fromHex("be")).fields, ["a", "c"])
    })
    it("holds nothing when its size is 0", () => {
      const decoder = new HpackDecoder(0)
      assert.deepStrictEqual(decode(decoder, fromHex("4001610162")).fields, ["a", "b"])
      assert.strictEqual(decoder.tableSize, 0)
      refuses("be", /without an entry/, decoder)
    })
    it("keeps duplicates apart (§2.3.2)", () => {
      const decoder = new HpackDecoder(4096)
      decode(decoder, fromHex("4001610162 4001610162"))
      assert.strictEqual(decoder.tableSize, 68)
      assert.deepStrictEqual(decode(decoder, fromHex("bebf")).fields, ["a", "b", "a", "b"])
    })
    it("gives the same entry at the index it has moved to", () => {
      const decoder = new HpackDecoder(4096)
      for (let i = 0; i < 100; i++) {
        const octet = (0x21 + (i % 64)).toString(16)
        decode(decoder, fromHex(`40 01 61 01 ${octet}`))
        const back = Math.min(i, 50)
        const expected = String.fromCharCode(0x21 + ((i - back) % 64))
        assert.deepStrictEqual(decode(decoder, Uint8Array.of(0x80 | (62 + back))).fields, ["a", expected])
      }
    })
  })

  describe("size updates (RFC 7541 §4.2, §6.3)", () => {
    it("obeys them at the beginning of a block, several too", () => {
      const decoder = new HpackDecoder(4096)
      decode(decoder, fromHex("4001610162"))
      decode(decoder, fromHex("203fe11f")) // 0, then 4096
      assert.strictEqual(decoder.tableSize, 0)
      decode(decoder, fromHex("4001610162"))
      assert.strictEqual(decoder.tableSize, 34)
    })
    it("refuses one after a field", () => refuses("8220", /after a field/))
    it("refuses one beyond the limit", () => {
      refuses("3fe21f", /beyond the limit/) // 4097
      refuses("3fffffff7f", /beyond the limit/)
    })
    it("allows what the acknowledged SETTINGS allow", () => {
      const decoder = new HpackDecoder(4096)
      decoder.setMaxTableSize(8192)
      assert.strictEqual(decode(decoder, fromHex("3fe13f82")).answer, "ok") // 8192
    })
    it("wants one after the limit sank below the table's size", () => {
      const decoder = new HpackDecoder(4096)
      decoder.setMaxTableSize(100)
      refuses("82", /is missing/, decoder)
    })
    it("wants the lowest limit obeyed when it sank and rose again", () => {
      const sunk = () => {
        const decoder = new HpackDecoder(4096)
        decoder.setMaxTableSize(100)
        decoder.setMaxTableSize(4096)
        return decoder
      }
      refuses("3fe11f82", /is missing/, sunk()) // 4096 only
      assert.strictEqual(decode(sunk(), fromHex("3f453fe11f82")).answer, "ok") // 100, then 4096
    })
    it("wants none when the limit sank to no less than the table's size", () => {
      const decoder = new HpackDecoder(4096)
      decode(decoder, fromHex("3f45")) // 100
      decoder.setMaxTableSize(200)
      assert.strictEqual(decode(decoder, fromHex("82")).answer, "ok")
    })
  })

  describe("the list's limit (RFC 9113 §6.5.2, §10.5.1)", () => {
    it("counts octets and 32 a field, to the octet", () => {
      const block = fromHex("0001610162 82") // 34 and 42
      assert.deepStrictEqual(decode(new HpackDecoder(4096), block, 76), {
        answer: "ok",
        fields: ["a", "b", ":method", "GET"],
        sensitive: []
      })
      assert.deepStrictEqual(decode(new HpackDecoder(4096), block, 75), {
        answer: "too-large",
        fields: ["a", "b"],
        sensitive: []
      })
    })

    it("follows the table to the end of a block that is too large, so the connection goes on", () => {
      const decoder = new HpackDecoder(4096)
      const encoder = new HpackEncoder(4096, { indexing: () => "incremental" })
      const first = encode(encoder, ["a", "1", "b", "2", "c", "3", "d", "4"])
      assert.deepStrictEqual(decode(decoder, first, 70), {
        answer: "too-large",
        fields: ["a", "1", "b", "2"],
        sensitive: []
      })
      assert.strictEqual(decoder.tableSize, encoder.tableSize)
      assert.deepStrictEqual(decode(decoder, encode(encoder, ["d", "4", "a", "1"])).fields, ["d", "4", "a", "1"])
    })

    it("refuses what is not HPACK in the rest of a block that is too large", () => {
      assert.throws(() => decode(new HpackDecoder(4096), fromHex("82 80"), 10), HpackError)
      assert.throws(() => decode(new HpackDecoder(4096), fromHex("82 048118"), 10), HpackError)
    })

    it("makes no string of what it does not emit", () => {
      let made = 0
      const decoder = new HpackDecoder(4096, (_, start, end) => {
        made += end - start
        return "x".repeat(end - start)
      })
      const long = (form: string) => form + "7f8131" + "78".repeat(6400)
      assert.strictEqual(decode(decoder, fromHex(long("04") + long("04")), 1000).answer, "too-large")
      assert.strictEqual(made, 0)
      // Neither of one that is to be indexed but empties the table.
      decode(decoder, fromHex("4001610162"))
      made = 0
      assert.strictEqual(decode(decoder, fromHex(long("44")), 1000).answer, "too-large")
      assert.strictEqual(made, 0)
      assert.strictEqual(decoder.tableSize, 0)
    })

    it("survives a bomb: ten thousand references to an entry of 4000 octets", () => {
      const decoder = new HpackDecoder(4096)
      const entry = Uint8Array.from([0x40, 0x01, 0x61, 0x7f, 0xa1, 0x1e, ...new Uint8Array(4000).fill(0x78)])
      assert.strictEqual(decode(decoder, entry).answer, "ok")
      const { answer, fields } = decode(decoder, new Uint8Array(10_000).fill(0xbe), 16_384)
      assert.strictEqual(answer, "too-large")
      assert.strictEqual(fields.length, 2 * Math.floor(16_384 / (1 + 4000 + 32)))
      assert.deepStrictEqual(decode(decoder, fromHex("82")).fields, [":method", "GET"])
    })
  })

  describe("never indexed (RFC 7541 §6.2.3)", () => {
    it("is told for new and for indexed names, and enters no table", () => {
      const decoder = new HpackDecoder(4096)
      const { fields, sensitive } = decode(decoder, fromHex("10016101621f080163"))
      assert.deepStrictEqual(fields, ["a", "b", "authorization", "c"])
      assert.deepStrictEqual(sensitive, ["a", "authorization"])
      assert.strictEqual(decoder.tableSize, 0)
    })
  })

  describe("malformed fields (RFC 9113 §8.2.1)", () => {
    const field = (name: string, value: string): Uint8Array => {
      const [n, v] = [Buffer.from(name, "latin1"), Buffer.from(value, "latin1")]
      return Uint8Array.from([0x40, n.length, ...n, v.length, ...v])
    }
    it.for(
      [
        ["upper case", "Aa", "x"],
        ["a space in a name", "a b", "x"],
        ["a control character in a name", "a\x01", "x"],
        ["an octet beyond ASCII in a name", "a\x80", "x"],
        ["DEL in a name", "a\x7f", "x"],
        ["a colon inside a name", "a:b", "x"],
        ["only a colon", ":", "x"],
        ["a line feed in a value", "a", "x\ny"],
        ["a carriage return in a value", "a", "x\ry"],
        ["NUL in a value", "a", "x\0y"],
        ["a space before a value", "a", " x"],
        ["a tab after a value", "a", "x\t"]
      ] as const
    )("are told: %s, also from the table", ([, name, value]) => {
      const decoder = new HpackDecoder(4096)
      assert.deepStrictEqual(decode(decoder, field(name, value)).fields, [name, value])
      assert.isTrue(decoder.malformed)
      decode(decoder, fromHex("82"))
      assert.isFalse(decoder.malformed)
      decode(decoder, fromHex("be"))
      assert.isTrue(decoder.malformed)
    })

    it("spoil what takes their name, not what takes the place of their value", () => {
      const badName = new HpackDecoder(4096)
      decode(badName, field("Aa", "x"))
      decode(badName, fromHex("7e0179"))
      assert.isTrue(badName.malformed)
      const badValue = new HpackDecoder(4096)
      decode(badValue, field("a", "x\n"))
      decode(badValue, fromHex("7e0179"))
      assert.isFalse(badValue.malformed)
    })

    it("are not these: pseudo-header fields, every other visible character, octets beyond ASCII in values", () => {
      const decoder = new HpackDecoder(4096)
      decode(decoder, field(":x", "\x80\xff \t!"))
      assert.isFalse(decoder.malformed)
      decode(decoder, field("!#$%&'*+-.^_`|~09az", ""))
      assert.isFalse(decoder.malformed)
    })
  })
})
