import { STATIC_ENTRIES, STATIC_NAMES, STATIC_VALUES } from "./staticTable.ts"

/** What every entry costs beside its octets (RFC 7541 §4.1); also what a field costs in a list (RFC 9113 §6.5.2). */
export const ENTRY_OVERHEAD = 32

/** A fault of a field: its name breaks RFC 9113 §8.2.1. */
export const BAD_NAME = 1

/** A fault of a field: its value breaks RFC 9113 §8.2.1. */
export const BAD_VALUE = 2

/** Slots that a table begins with; it grows as entries come, so that an idle connection holds almost nothing. */
const FIRST_SLOTS = 16

/**
 * The static and the dynamic table as a decoder sees them (RFC 7541 §2.3): one index space. The dynamic part is a ring:
 * an entry stays in its slot from insertion to eviction.
 */
export class DecoderTable {
  #names: Array<string> = []
  #values: Array<string> = []
  /** How each field breaks the syntax of HTTP/2 (`BAD_NAME`, `BAD_VALUE`): asked once, at insertion. */
  #faults: Uint8Array = new Uint8Array(0)
  /** The slot of the newest entry. */
  #newest = -1
  #length = 0
  #size = 0
  #capacity: number

  /** `capacity`: the table's maximum size (RFC 7541 §4.2), as its entries count it. */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** The maximum size in force. */
  get capacity(): number {
    return this.#capacity
  }

  /** What the entries of the dynamic part count (RFC 7541 §4.1). */
  get size(): number {
    return this.#size
  }

  /** The highest index there is. */
  get lastIndex(): number {
    return STATIC_ENTRIES + this.#length
  }

  /** The name at an index from 1 to `lastIndex`. */
  name(index: number): string {
    return (index <= STATIC_ENTRIES ? STATIC_NAMES[index] : this.#names[this.#slot(index)]) ?? ""
  }

  /** The value at an index from 1 to `lastIndex`. */
  value(index: number): string {
    return (index <= STATIC_ENTRIES ? STATIC_VALUES[index] : this.#values[this.#slot(index)]) ?? ""
  }

  /** How the field at an index breaks the syntax of HTTP/2: 0, or `BAD_NAME` and `BAD_VALUE`. */
  faults(index: number): number {
    return index <= STATIC_ENTRIES ? 0 : (this.#faults[this.#slot(index)] ?? 0)
  }

  /** Changes the maximum size and evicts what is too much (RFC 7541 §4.3). */
  setCapacity(capacity: number): void {
    this.#capacity = capacity
    this.#evict(capacity)
  }

  /** Adds an entry; one that is larger than the table empties it and is no error (RFC 7541 §4.4). */
  add(name: string, value: string, faults: number): void {
    const size = name.length + value.length + ENTRY_OVERHEAD
    this.#evict(this.#capacity - size)
    if (size > this.#capacity) return
    if (this.#length === this.#names.length) this.#grow()
    this.#newest = (this.#newest + 1) & (this.#names.length - 1)
    this.#names[this.#newest] = name
    this.#values[this.#newest] = value
    this.#faults[this.#newest] = faults
    this.#length++
    this.#size += size
  }

  /** Drops all entries: what an entry does that is larger than the table (RFC 7541 §4.4). */
  clear(): void {
    this.#evict(0)
  }

  #slot(index: number): number {
    return (this.#newest - (index - STATIC_ENTRIES - 1)) & (this.#names.length - 1)
  }

  /** Drops the oldest entries until the rest counts at most `size`. */
  #evict(size: number): void {
    while (this.#size > size && this.#length > 0) {
      const oldest = (this.#newest - this.#length + 1) & (this.#names.length - 1)
      this.#size -= (this.#names[oldest] ?? "").length + (this.#values[oldest] ?? "").length + ENTRY_OVERHEAD
      this.#names[oldest] = ""
      this.#values[oldest] = ""
      this.#length--
    }
  }

  /** Doubles the ring, a power of two; the oldest entry comes to stand at slot 0. */
  #grow(): void {
    const slots = Math.max(FIRST_SLOTS, this.#names.length * 2)
    const names = Array.from({ length: slots }, () => "")
    const values = Array.from({ length: slots }, () => "")
    const faults = new Uint8Array(slots)
    for (let i = 0; i < this.#length; i++) {
      const slot = (this.#newest - this.#length + 1 + i) & (this.#names.length - 1)
      names[i] = this.#names[slot] ?? ""
      values[i] = this.#values[slot] ?? ""
      faults[i] = this.#faults[slot] ?? 0
    }
    this.#names = names
    this.#values = values
    this.#faults = faults
    this.#newest = this.#length - 1
  }
}
