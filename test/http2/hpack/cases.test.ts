import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { decode, encode, fromHex } from "./support.ts"

/** A story of `../hpack-cases`; its README says what the parts are. */
const Story = Schema.Struct({
  lists: Schema.Array(Schema.Array(Schema.String)),
  tableSizes: Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Number)),
  wires: Schema.Record(Schema.String, Schema.Array(Schema.String))
})

const folder = path.join(import.meta.dirname, "../hpack-cases")
const stories = fs.readdirSync(folder).filter((file) => file.endsWith(".json")).map((file) => ({
  name: path.basename(file, ".json"),
  ...Schema.decodeUnknownSync(Schema.fromJsonString(Story))(fs.readFileSync(path.join(folder, file), "utf8"))
}))

const decodings = stories.flatMap(({ lists, name, tableSizes, wires }) =>
  Object.entries(wires).map(([encoder, blocks]) => ({
    name: `${encoder}, ${name}`,
    lists,
    blocks,
    sizes: tableSizes[encoder] ?? {}
  }))
)

describe("hpack-test-case", () => {
  it("is there whole: 952 blocks of 14 encoders", () => {
    assert.strictEqual(decodings.reduce((sum, { blocks }) => sum + blocks.length, 0), 952)
    assert.strictEqual(new Set(stories.flatMap(({ wires }) => Object.keys(wires))).size, 14)
  })

  it.for(decodings)("decodes $name", ({ blocks, lists, sizes }) => {
    const decoder = new HpackDecoder(4096)
    for (const [i, block] of blocks.entries()) {
      const size = sizes[i]
      if (size !== undefined) decoder.setMaxTableSize(size)
      assert.deepStrictEqual(decode(decoder, fromHex(block)), {
        answer: "ok",
        fields: [...(lists[i] ?? [])],
        sensitive: []
      })
    }
  })

  const encodings = stories.flatMap(({ lists, name }) =>
    [0, 256, 4096, 16384].flatMap((tableSize) => [false, true].map((huffman) => ({ name, lists, tableSize, huffman })))
  )
  it.for(encodings)("encodes $name, table $tableSize, Huffman $huffman", ({ huffman, lists, tableSize }) => {
    const encoder = new HpackEncoder(tableSize, { huffman })
    encoder.setPeerMaxTableSize(tableSize)
    const decoder = new HpackDecoder(4096)
    decoder.setMaxTableSize(tableSize)
    for (const fields of lists) {
      assert.deepStrictEqual(decode(decoder, encode(encoder, fields)).fields, fields)
      assert.strictEqual(decoder.tableSize, encoder.tableSize)
      assert.isAtMost(decoder.tableSize, tableSize)
    }
  })

  it("makes the lists of a story smaller, for what repeats is indexed", () => {
    for (const { lists, name } of stories) {
      if (lists.length < 10) continue
      const encoder = new HpackEncoder()
      const bytes = lists.reduce((sum, fields) => sum + encode(encoder, fields).length, 0)
      assert.isBelow(bytes, 0.8 * lists.flat().join("").length, name)
    }
  })
})
