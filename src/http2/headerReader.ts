import { addField, HeaderBlock } from "./headerBlock.ts"
import { HpackDecoder } from "./hpack/HpackDecoder.ts"
import { Flag } from "./protocol.ts"

/** Compressed bytes of one header block, and the frames it may come in. */
const MAX_BLOCK_BYTES = 65_536
const MAX_BLOCK_FRAMES = 16

/** What {@link HeaderReader.take} answers when the block is not whole, or wrong. */
export const BlockState = { MORE: 0, WHOLE: 1, TOO_LONG: 2, PADDING: 3, COMPRESSION: 4, SHORT: 5 } as const

/** Puts header blocks together (RFC 9113 §4.3, §6.2, §6.10) and decodes them, in their order on the connection. */
export class HeaderReader {
  readonly decoder = new HpackDecoder(4096)
  readonly #maxList: number
  #parts: Uint8Array | undefined
  #have = 0
  #frames = 0
  #endStream = false
  /** The block that is being decoded. */
  #block = new HeaderBlock()
  readonly #emit = (name: string, value: string, sensitive: boolean): void => {
    addField(this.#block, name, value, sensitive)
  }

  /** `maxList`: our SETTINGS_MAX_HEADER_LIST_SIZE. */
  constructor(maxList: number) {
    this.#maxList = maxList
  }

  /** The decoded block, once it is whole. */
  get block(): HeaderBlock {
    return this.#block
  }

  /** The payload of HEADERS. */
  headers(flags: number, bytes: Uint8Array, at: number, length: number): number {
    let from = at
    let to = at + length
    if ((flags & Flag.PADDED) !== 0) {
      if (length < 1) return BlockState.SHORT
      to -= bytes[from++] ?? 0
    }
    // The fields of a priority are of no use (§5.3.2).
    if ((flags & Flag.PRIORITY) !== 0) from += 5
    if (from > at + length) return BlockState.SHORT
    if (from > to) return BlockState.PADDING
    this.#endStream = (flags & Flag.END_STREAM) !== 0
    this.#frames = 0
    return this.#fragment(flags, bytes, from, to)
  }

  /** The payload of CONTINUATION. */
  continuation(flags: number, bytes: Uint8Array, at: number, length: number): number {
    return this.#fragment(flags, bytes, at, at + length)
  }

  #fragment(flags: number, bytes: Uint8Array, from: number, to: number): number {
    const whole = (flags & Flag.END_HEADERS) !== 0
    if (whole && this.#have === 0) return this.#decode(bytes.subarray(from, to))
    this.#frames++
    if (this.#have + to - from > MAX_BLOCK_BYTES || this.#frames > MAX_BLOCK_FRAMES) return BlockState.TOO_LONG
    const grown = new Uint8Array(this.#have + to - from)
    if (this.#parts !== undefined) grown.set(this.#parts)
    grown.set(bytes.subarray(from, to), this.#have)
    this.#parts = grown
    this.#have = grown.length
    if (!whole) return BlockState.MORE
    this.#parts = undefined
    this.#have = 0
    return this.#decode(grown)
  }

  #decode(block: Uint8Array): number {
    const fields = new HeaderBlock()
    this.#block = fields
    fields.endStream = this.#endStream
    try {
      fields.tooLarge = this.decoder.decode(block, this.#maxList, this.#emit) === "too-large"
    } catch {
      return BlockState.COMPRESSION
    }
    if (this.decoder.malformed) fields.malformed = true
    return BlockState.WHOLE
  }
}
