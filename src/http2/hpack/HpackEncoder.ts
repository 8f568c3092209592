import { EncoderTable, type NameRecord } from "./EncoderTable.ts"
import { huffmanEncode, huffmanLength } from "./huffmanEncode.ts"
import { type Indexing, type IndexingPolicy, indexWhatRepeats } from "./indexing.ts"
import { MAX_INTEGER_OCTETS, writeInteger } from "./integer.ts"
import { writeLatin1 } from "./latin1.ts"

/** Table size that an HTTP/2 connection begins with (RFC 9113 §6.5.2), and that we use at most unless told otherwise. */
export const DEFAULT_TABLE_SIZE = 4096

/** What a field costs at most beside its octets: the index of its name and two lengths. */
const MAX_FIELD_OVERHEAD = 3 * MAX_INTEGER_OCTETS

/** What the size updates at a block's beginning cost at most. */
const MAX_UPDATES = 2 * MAX_INTEGER_OCTETS

/** Settings of an encoder. */
export interface HpackEncoderOptions {
  /** Huffman-code a string where that is not longer. Default false: it costs time, and saves bytes on a local network. */
  readonly huffman?: boolean | undefined
  /** Default `indexWhatRepeats`. */
  readonly indexing?: IndexingPolicy | undefined
}

/**
 * Encodes the header blocks of one direction of a connection (RFC 7541 §2, §6). A field whose name and value are in a
 * table is one octet, mostly.
 */
export class HpackEncoder {
  readonly #table: EncoderTable
  readonly #ownMaximum: number
  readonly #huffman: boolean
  readonly #indexing: IndexingPolicy
  /** The smallest maximum since the last block, to be announced; none when undefined. */
  #smallest: number | undefined
  /** The maximum in force has to be announced. */
  #announce = false

  /** `maxTableSize`: the most that the table may count, whatever the peer allows; default 4096 octets. */
  constructor(maxTableSize: number = DEFAULT_TABLE_SIZE, options: HpackEncoderOptions = {}) {
    this.#ownMaximum = maxTableSize
    this.#table = new EncoderTable(DEFAULT_TABLE_SIZE)
    this.#huffman = options.huffman ?? false
    this.#indexing = options.indexing ?? indexWhatRepeats
    if (maxTableSize < DEFAULT_TABLE_SIZE) this.setPeerMaxTableSize(maxTableSize)
  }

  /** What the dynamic table counts (RFC 7541 §4.1). */
  get tableSize(): number {
    return this.#table.size
  }

  /** The most octets that `encode` can make of the fields: with that much room it always succeeds. */
  static bound(fields: ReadonlyArray<string>): number {
    let bytes = MAX_UPDATES + (fields.length >> 1) * MAX_FIELD_OVERHEAD
    for (const text of fields) bytes += text.length
    return bytes
  }

  /**
   * The SETTINGS_HEADER_TABLE_SIZE that the peer has sent. The next block begins with the size updates that it calls for:
   * the smallest maximum since the last block, then the one in force (RFC 7541 §4.2).
   */
  setPeerMaxTableSize(size: number): void {
    const capacity = Math.min(size, this.#ownMaximum)
    if (capacity === this.#table.capacity) return
    this.#table.setCapacity(capacity)
    this.#smallest = Math.min(capacity, this.#smallest ?? capacity)
    this.#announce = true
  }

  /**
   * Encodes a header list, `fields` being name, value, name, value, …; names in lower case, code units up to 0xff (others
   * are sent as "?"). `sensitive`: names whose values are never indexed besides those that look like secrets; an
   * intermediary has to keep that mark of a field it forwards (RFC 7541 §6.2.3).
   *
   * Answers where the block ends in `into`, or −1 when there is less room than `bound(fields)`; then nothing has changed.
   */
  encode(fields: ReadonlyArray<string>, into: Uint8Array, offset: number, sensitive?: ReadonlySet<string>): number {
    if (into.length - offset < HpackEncoder.bound(fields)) return -1
    const table = this.#table
    let at = this.#announce ? this.#sizeUpdates(into, offset) : offset
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const value = fields[i + 1] ?? ""
      const record = table.record(fields[i] ?? "")
      const never = sensitive !== undefined && sensitive.has(record.name)
      const index = never ? 0 : table.indexOf(record, value)
      if (index > 0) {
        if (index < 0x7f) into[at++] = 0x80 | index
        else at = writeInteger(index, 0x80, 0x7f, into, at)
      } else {
        at = this.#literal(record, value, never ? "never" : this.#indexing(record, value, table), into, at)
      }
    }
    return at
  }

  #literal(record: NameRecord, value: string, indexing: Indexing, into: Uint8Array, offset: number): number {
    const index = this.#table.indexOfName(record)
    let at = indexing === "incremental"
      ? writeInteger(index, 0x40, 0x3f, into, offset)
      : writeInteger(index, indexing === "never" ? 0x10 : 0, 0x0f, into, offset)
    if (index === 0) at = this.#string(record.name, into, at)
    at = this.#string(value, into, at)
    if (indexing === "incremental") this.#table.add(record, value)
    return at
  }

  /** A string literal (RFC 7541 §5.2). */
  #string(text: string, into: Uint8Array, at: number): number {
    if (this.#huffman) {
      const length = huffmanLength(text)
      if (length > 0 && length <= text.length) {
        return huffmanEncode(text, into, writeInteger(length, 0x80, 0x7f, into, at))
      }
    }
    return writeLatin1(text, into, writeInteger(text.length, 0, 0x7f, into, at))
  }

  #sizeUpdates(into: Uint8Array, offset: number): number {
    let at = offset
    const capacity = this.#table.capacity
    if (this.#smallest !== undefined && this.#smallest < capacity) {
      at = writeInteger(this.#smallest, 0x20, 0x1f, into, at)
    }
    this.#smallest = undefined
    this.#announce = false
    return writeInteger(capacity, 0x20, 0x1f, into, at)
  }
}
