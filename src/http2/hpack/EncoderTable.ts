import { ENTRY_OVERHEAD } from "./DecoderTable.ts"
import { isSecret } from "./secrets.ts"
import { STATIC_BY_NAME, STATIC_ENTRIES, type StaticName } from "./staticTable.ts"

/** Names kept only because they were sent lately; beyond it the one that has been kept longest goes. */
const MAX_IDLE_NAMES = 32

/** Values of a name, sent as literals lately, that are remembered to see whether one comes again. */
const REMEMBERED_VALUES = 4

/** Longer names and values are not remembered: what they cost in memory is more than what they cost on the wire. */
const MAX_REMEMBERED_LENGTH = 128

/** An entry of the dynamic table. */
interface Entry {
  readonly name: NameRecord
  readonly value: string
  /** How many entries were inserted before it; with the count of all insertions it gives the index. */
  readonly serial: number
}

/** All that an encoder knows of one name: what it asks the map for once a field. */
export interface NameRecord {
  readonly name: string
  readonly inStatic: StaticName | undefined
  /** Never to be indexed. */
  readonly secret: boolean
  /** The dynamic entries with this name, oldest first. */
  readonly entries: Array<Entry>
  /** Values that were sent as literals lately, a ring. */
  readonly remembered: Array<string>
  rememberedAt: number
}

/**
 * The static and the dynamic table as an encoder sees them: from a field to its index (RFC 7541 §2.3), and a short memory
 * of what was sent without being indexed.
 */
export class EncoderTable {
  readonly #names = new Map<string, NameRecord>()
  /** The dynamic table, oldest first, from `#oldest` on: the array is cut when half of it is gone. */
  #entries: Array<Entry> = []
  #oldest = 0
  #inserted = 0
  #size = 0
  #capacity: number

  /** `capacity`: the table's maximum size (RFC 7541 §4.2). */
  constructor(capacity: number) {
    this.#capacity = capacity
  }

  /** The maximum size in force. */
  get capacity(): number {
    return this.#capacity
  }

  /** What the entries count (RFC 7541 §4.1). */
  get size(): number {
    return this.#size
  }

  /** Changes the maximum size and evicts what is too much (RFC 7541 §4.3). */
  setCapacity(capacity: number): void {
    this.#capacity = capacity
    this.#evict(capacity)
  }

  /** The record of a name, made at its first use. */
  record(name: string): NameRecord {
    return this.#names.get(name) ?? this.#newRecord(name)
  }

  /** The index of the field, or 0. */
  indexOf(record: NameRecord, value: string): number {
    const { entries, inStatic } = record
    for (let i = entries.length - 1; i >= 0; i--) {
      const entry = entries[i]
      if (entry !== undefined && entry.value === value) return this.#index(entry)
    }
    if (inStatic !== undefined) {
      const at = inStatic.values.indexOf(value)
      if (at >= 0) return inStatic.index + at
    }
    return 0
  }

  /** The lowest index with this name, or 0. */
  indexOfName(record: NameRecord): number {
    if (record.inStatic !== undefined) return record.inStatic.index
    const newest = record.entries.at(-1)
    return newest === undefined ? 0 : this.#index(newest)
  }

  /** Adds an entry as the decoder does on the other side (RFC 7541 §4.4). */
  add(record: NameRecord, value: string): void {
    const size = entrySize(record.name, value)
    this.#evict(this.#capacity - size)
    if (size > this.#capacity) return
    const entry = { name: record, value, serial: this.#inserted++ }
    this.#entries.push(entry)
    record.entries.push(entry)
    this.#size += size
  }

  /** Whether the value was sent as a literal lately; it is remembered for the next time. */
  sentLately(record: NameRecord, value: string): boolean {
    const { remembered } = record
    if (remembered.includes(value)) return true
    if (value.length > MAX_REMEMBERED_LENGTH) return false
    remembered[record.rememberedAt] = value
    record.rememberedAt = (record.rememberedAt + 1) % REMEMBERED_VALUES
    return false
  }

  #index(entry: Entry): number {
    return STATIC_ENTRIES + this.#inserted - entry.serial
  }

  #newRecord(name: string): NameRecord {
    const kept = name.length <= MAX_REMEMBERED_LENGTH
    if (kept && this.#names.size >= MAX_IDLE_NAMES + this.#entries.length - this.#oldest) this.#forget()
    const record: NameRecord = {
      name,
      inStatic: STATIC_BY_NAME.get(name),
      secret: isSecret(name),
      entries: [],
      remembered: [],
      rememberedAt: 0
    }
    if (kept) this.#names.set(name, record)
    return record
  }

  /** Forgets the name that is known longest of those without an entry. */
  #forget(): void {
    for (const record of this.#names.values()) {
      if (record.entries.length === 0) {
        this.#names.delete(record.name)
        return
      }
    }
  }

  /** Drops the oldest entries until the rest counts at most `size`. */
  #evict(size: number): void {
    while (this.#size > size) {
      const entry = this.#entries[this.#oldest]
      if (entry === undefined) return
      this.#oldest++
      entry.name.entries.shift()
      this.#size -= entrySize(entry.name.name, entry.value)
    }
    if (this.#oldest > 16 && this.#oldest * 2 > this.#entries.length) {
      this.#entries = this.#entries.slice(this.#oldest)
      this.#oldest = 0
    }
  }
}

/** What an entry counts (RFC 7541 §4.1). */
export const entrySize = (name: string, value: string): number => name.length + value.length + ENTRY_OVERHEAD
