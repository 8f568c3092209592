import type { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"

/** A header list as the encoder takes it: name, value, name, value, … */
export type FlatFields = ReadonlyArray<string>

export const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex.replaceAll(/\s/g, ""), "hex"))

export const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")

/** The block as the encoder writes it. */
export const encode = (encoder: HpackEncoder, fields: FlatFields, sensitive?: ReadonlySet<string>): Uint8Array => {
  const room = new Uint8Array(HpackEncoder.bound(fields))
  return room.subarray(0, encoder.encode(fields, room, 0, sensitive))
}

export interface Decoded {
  readonly answer: "ok" | "too-large"
  readonly fields: Array<string>
  /** The names of the fields that came never-indexed. */
  readonly sensitive: Array<string>
}

/** What the decoder makes of a block. */
export const decode = (decoder: HpackDecoder, block: Uint8Array, maxListBytes = 1 << 20): Decoded => {
  const fields: Array<string> = []
  const sensitive: Array<string> = []
  const answer = decoder.decode(block, maxListBytes, (name, value, isSensitive) => {
    fields.push(name, value)
    if (isSensitive) sensitive.push(name)
  })
  return { answer, fields, sensitive }
}
