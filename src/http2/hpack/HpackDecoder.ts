import { BAD_NAME, BAD_VALUE, DecoderTable, ENTRY_OVERHEAD } from "./DecoderTable.ts"
import { isFieldName, isFieldValue } from "./fieldSyntax.ts"
import { HpackError } from "./HpackError.ts"
import { decodedBound, huffmanDecode } from "./huffmanDecode.ts"
import { MAX_INTEGER_OCTETS } from "./integer.ts"
import { type BytesToString, latin1 } from "./latin1.ts"

/** What a decoder calls for each field, in the order of the block; `sensitive`: never to be indexed (RFC 7541 §7.1.3). */
export type OnField = (name: string, value: string, sensitive: boolean) => void

/**
 * An integer's last octet adds bits from here up. A longer one is an error (RFC 7541 §5.1 wants a limit): no length or
 * index of ours comes near it.
 */
const MAX_SHIFT = 7 * (MAX_INTEGER_OCTETS - 2)

/** Room for decoded Huffman strings that a decoder keeps between strings; a longer string gets room of its own. */
const KEPT_SCRATCH = 512

const EMPTY = new Uint8Array(0)

/**
 * Decodes the header blocks of one direction of a connection (RFC 7541 §3.2, §6).
 *
 * Strings come out of the tables where the peer indexes: the same string for the same entry, made once. A string has one
 * code unit an octet (latin1).
 */
export class HpackDecoder {
  readonly #table: DecoderTable
  readonly #toString: BytesToString
  /** The highest maximum that the peer may choose. */
  #limit: number
  /** The lowest limit since the last block, when it is below the size in force: the next block must begin by obeying. */
  #mustShrinkTo = Number.POSITIVE_INFINITY
  #scratch: Uint8Array = EMPTY
  #block: Uint8Array = EMPTY
  #at = 0
  /** What may still be emitted of this block's list; negative once the list is too large. */
  #left = 0
  /** How the literal in hand breaks the syntax of HTTP/2. */
  #faults = 0
  /** The literal in hand has a string that was only checked. */
  #skipped = false
  #malformed = false

  /**
   * `maxTableSize`: the maximum size that the peer's encoder begins with. For HTTP/2 that is 4096 whatever our SETTINGS
   * say (RFC 9113 §6.5.2); they are in force once acknowledged, see `setMaxTableSize`. `toString`: a faster way to make
   * strings, where the platform has one.
   */
  constructor(maxTableSize: number, toString: BytesToString = latin1) {
    this.#table = new DecoderTable(maxTableSize)
    this.#limit = maxTableSize
    this.#toString = toString
  }

  /**
   * Whether the block decoded last emitted a field that breaks RFC 9113 §8.2.1 (octets of names and values), which makes
   * its message malformed.
   */
  get malformed(): boolean {
    return this.#malformed
  }

  /** What the dynamic table counts (RFC 7541 §4.1). */
  get tableSize(): number {
    return this.#table.size
  }

  /**
   * The SETTINGS_HEADER_TABLE_SIZE that the peer has acknowledged. A peer whose table is larger has to say at the
   * beginning of its next block that it obeys (RFC 7541 §4.2); a block without that is an error.
   */
  setMaxTableSize(size: number): void {
    this.#limit = size
    if (size < this.#table.capacity && size < this.#mustShrinkTo) this.#mustShrinkTo = size
  }

  /**
   * Decodes one whole header block: the fragments of HEADERS and its CONTINUATIONs, joined. `maxListBytes`: the most that
   * the list may count, each field its octets and 32 (RFC 9113 §6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
   *
   * Answers "too-large" when the list counts more: nothing is emitted from the field on that did not fit, while the table
   * follows to the block's end, so the connection can go on. What a small block can make of large entries costs no
   * memory: fields that are not emitted become no strings.
   *
   * @throws HpackError for a block that is not HPACK; the decoder must not be used again.
   */
  decode(block: Uint8Array, maxListBytes: number, emit: OnField): "ok" | "too-large" {
    this.#block = block
    this.#at = 0
    this.#left = maxListBytes
    this.#malformed = false
    this.#sizeUpdates()
    const table = this.#table
    while (this.#at < block.length) {
      const first = block[this.#at++] ?? 0
      if (first >= 0x80) {
        const index = this.#index(first, 0x7f)
        this.#emit(table.name(index), table.value(index), false, table.faults(index), emit)
      } else if (first >= 0x40) {
        this.#literal(first, 0x3f, true, false, emit)
      } else if (first >= 0x20) {
        throw new HpackError("Table size update after a field")
      } else {
        this.#literal(first, 0x0f, false, first >= 0x10, emit)
      }
    }
    this.#block = EMPTY
    return this.#left < 0 ? "too-large" : "ok"
  }

  /** Dynamic table size updates, only at the beginning of a block (RFC 7541 §4.2, §6.3). */
  #sizeUpdates(): void {
    let first = this.#block[this.#at]
    while (first !== undefined && (first & 0xe0) === 0x20) {
      this.#at++
      const size = this.#integer(first, 0x1f)
      if (size > this.#limit) throw new HpackError("Table size update beyond the limit")
      if (size <= this.#mustShrinkTo) this.#mustShrinkTo = Number.POSITIVE_INFINITY
      this.#table.setCapacity(size)
      first = this.#block[this.#at]
    }
    if (this.#mustShrinkTo !== Number.POSITIVE_INFINITY) throw new HpackError("Table size update is missing")
  }

  /** A literal field in one of its three forms (RFC 7541 §6.2). */
  #literal(first: number, mask: number, indexed: boolean, sensitive: boolean, emit: OnField): void {
    let name: string
    this.#skipped = false
    this.#faults = 0
    if ((first & mask) === 0) {
      name = this.#string(indexed, BAD_NAME)
    } else {
      const index = this.#index(first, mask)
      name = this.#table.name(index)
      this.#faults = this.#table.faults(index) & BAD_NAME
    }
    const value = this.#string(indexed, BAD_VALUE)
    if (indexed) {
      if (this.#skipped) this.#table.clear()
      else this.#table.add(name, value, this.#faults)
    }
    this.#emit(name, value, sensitive, this.#faults, emit)
  }

  #emit(name: string, value: string, sensitive: boolean, faults: number, emit: OnField): void {
    if (this.#left < 0) return
    this.#left -= name.length + value.length + ENTRY_OVERHEAD
    if (this.#left < 0) return
    if (faults !== 0) this.#malformed = true
    emit(name, value, sensitive)
  }

  /** An index that must name an entry (RFC 7541 §2.3.3, §6.1). */
  #index(first: number, mask: number): number {
    const index = this.#integer(first, mask)
    if (index === 0 || index > this.#table.lastIndex) throw new HpackError("Index without an entry")
    return index
  }

  /** An integer whose first octet, already read, is `first` with the prefix `mask` (RFC 7541 §5.1). */
  #integer(first: number, mask: number): number {
    const prefix = first & mask
    if (prefix !== mask) return prefix
    let value = mask
    for (let shift = 0; shift <= MAX_SHIFT; shift += 7) {
      const octet = this.#block[this.#at++]
      if (octet === undefined) throw new HpackError("Block ends inside an integer")
      value += (octet & 0x7f) << shift
      if (octet < 0x80) return value
    }
    throw new HpackError("Integer too long")
  }

  /**
   * A string literal (RFC 7541 §5.2); `fault` says what it is. One that is neither emitted (the list is too large already,
   * or becomes it here) nor fits into the table is only checked, and "" stands for it.
   */
  #string(indexed: boolean, fault: typeof BAD_NAME | typeof BAD_VALUE): string {
    const first = this.#block[this.#at++]
    if (first === undefined) throw new HpackError("Block ends before a string")
    const length = this.#integer(first, 0x7f)
    const start = this.#at
    const end = start + length
    if (end > this.#block.length) throw new HpackError("String longer than its block")
    this.#at = end
    let bytes = this.#block
    let from = start
    let to = end
    if (first >= 0x80) {
      bytes = this.#room(decodedBound(length))
      from = 0
      to = huffmanDecode(this.#block, start, end, bytes)
      if (to < 0) throw new HpackError("String is not of the Huffman code")
    }
    if (to - from > this.#left) this.#left = -1
    if (!(fault === BAD_NAME ? isFieldName : isFieldValue)(bytes, from, to)) this.#faults |= fault
    if (this.#left < 0 && !(indexed && to - from <= this.#table.capacity)) {
      this.#skipped = true
      return ""
    }
    return this.#toString(bytes, from, to)
  }

  #room(bytes: number): Uint8Array {
    if (bytes <= this.#scratch.length) return this.#scratch
    if (bytes > KEPT_SCRATCH) return new Uint8Array(bytes)
    this.#scratch = new Uint8Array(KEPT_SCRATCH)
    return this.#scratch
  }
}
