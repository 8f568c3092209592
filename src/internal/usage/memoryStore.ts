import type { JournalRecord, OpenStream, Sum } from "../../services/UsageJournal.ts"
import { noCounts } from "./counts.ts"
import { isMerged, mergeKey, sumOf } from "./merge.ts"
import type { TotalName, UsageStore } from "./store.ts"

const none: Sum = { records: 0, tokens: 0 }

/** Keeps a running sum of what is in a map of records. */
class Rows {
  readonly #rows = new Map<string, JournalRecord>()
  tokens = 0
  details = 0

  get size(): number {
    return this.#rows.size
  }
  put(record: JournalRecord): void {
    this.delete(record.record_id)
    this.#rows.set(record.record_id, record)
    this.tokens += record.tokens_generated
    if (!isMerged(record)) this.details++
  }
  /** Like `put`, and a record that is there already keeps its place. */
  update(record: JournalRecord): void {
    const old = this.#rows.get(record.record_id)
    if (old === undefined) return this.put(record)
    this.#rows.set(record.record_id, record)
    this.tokens += record.tokens_generated - old.tokens_generated
  }
  delete(recordId: string): JournalRecord | undefined {
    const old = this.#rows.get(recordId)
    if (old === undefined) return undefined
    this.#rows.delete(recordId)
    this.tokens -= old.tokens_generated
    if (!isMerged(old)) this.details--
    return old
  }
  values(): Iterable<JournalRecord> {
    return this.#rows.values()
  }
}

const take = (rows: Iterable<JournalRecord>, limit: number): ReadonlyArray<JournalRecord> => {
  const taken: Array<JournalRecord> = []
  for (const row of rows) {
    if (taken.length >= limit) break
    taken.push(row)
  }
  return taken
}

/** The store of a journal that lives as long as its process: simulations, tests, and embedders without a disk. */
export const makeMemoryStore = (): UsageStore<ReadonlyArray<JournalRecord>> => {
  const meta = new Map<string, string>()
  const totals = new Map<TotalName, Sum>()
  const openStreams = new Map<number, OpenStream>()
  let openCounts = noCounts
  const details = new Rows()
  const merged = new Rows()
  const growing = new Map<string, JournalRecord>()
  const batches = new Map<string, Rows>()
  const batchOf = new Map<string, string>()
  const aside = new Map<string, { readonly record: JournalRecord; readonly reason: string }>()

  let lastSequence = 0
  let aliveAt = 0

  const queue = (record: JournalRecord): void => (isMerged(record) ? merged : details).put(record)

  const addTotal = (name: TotalName, sum: Sum): void => {
    const old = totals.get(name) ?? none
    totals.set(name, { records: old.records + sum.records, tokens: old.tokens + sum.tokens })
  }

  const add = (record: JournalRecord): void => {
    queue(record)
    addTotal("delivered", sumOf([record]))
  }

  const leaveBatch = (recordId: string): JournalRecord | undefined => {
    const batchId = batchOf.get(recordId)
    if (batchId === undefined) return undefined
    batchOf.delete(recordId)
    const rows = batches.get(batchId)
    const row = rows?.delete(recordId)
    if (rows?.size === 0) batches.delete(batchId)
    return row
  }

  const leaveMerged = (recordId: string): JournalRecord | undefined => {
    const row = merged.delete(recordId)
    if (row === undefined) return undefined
    const key = mergeKey(row)
    if (growing.get(key)?.record_id === recordId) growing.delete(key)
    return row
  }

  const detach = (recordId: string): JournalRecord | undefined =>
    details.delete(recordId) ?? leaveBatch(recordId) ?? leaveMerged(recordId)

  return {
    transaction: (body) => body(),
    meta: (key) => meta.get(key),
    setMeta: (key, value) => void meta.set(key, value),
    total: (name) => totals.get(name) ?? none,
    addTotal,
    saveOpen: (streams) => {
      for (const stream of streams) openStreams.set(stream.slot, stream)
    },
    dropOpen: (slots) => {
      for (const slot of slots) openStreams.delete(slot)
    },
    saveCounts: (counts, at) => {
      openCounts = counts
      aliveAt = at
    },
    open: () => ({ streams: [...openStreams.values()], counts: openCounts }),
    clearOpen: () => {
      openStreams.clear()
      openCounts = noCounts
    },
    startSession: (session) => {
      meta.set("session", session)
      lastSequence = 0
    },
    lastSequence: () => lastSequence,
    aliveAt: () => aliveAt,
    append: ({ at, closed, sequence }) => {
      lastSequence = sequence
      aliveAt = at
      for (const record of closed) add(record)
    },
    add,
    oldest: (limit) => {
      const first = take(merged.values(), limit)
      return [...first, ...take(details.values(), limit - first.length)]
    },
    takeDetails: (limit) => {
      const taken = take(details.values(), limit)
      for (const { record_id } of taken) details.delete(record_id)
      return taken
    },
    growing: (key) => growing.get(key),
    grow: (key, record) => {
      growing.set(key, record)
      merged.update(record)
    },
    remove: (recordIds) => {
      for (const recordId of recordIds) detach(recordId)
    },
    assign: (recordIds, batchId) => {
      const batch = batches.get(batchId) ?? new Rows()
      batches.set(batchId, batch)
      for (const recordId of recordIds) {
        const row = detach(recordId)
        if (row === undefined) continue
        batch.put(row)
        batchOf.set(recordId, batchId)
      }
    },
    firstBatch: (except) => [...batches.keys()].find((batchId) => batchId !== except),
    batch: (batchId) => [...(batches.get(batchId)?.values() ?? [])],
    putAside: (recordIds, reason) => {
      for (const recordId of recordIds) {
        const record = detach(recordId)
        if (record !== undefined) aside.set(recordId, { record, reason })
      }
    },
    putBack: (recordIds) => {
      const chosen = recordIds ?? [...aside.keys()]
      let count = 0
      for (const recordId of chosen) {
        const row = aside.get(recordId)
        if (row === undefined) continue
        aside.delete(recordId)
        queue(row.record)
        count++
      }
      return count
    },
    // Nothing is older than its process, which believes no such count.
    doubtful: () => [],
    aside: () => [...aside.values()],
    addHistory: () => undefined,
    waiting: () => {
      let records = details.size + merged.size
      let tokens = details.tokens + merged.tokens
      let inDetail = details.size
      for (const rows of batches.values()) {
        records += rows.size
        tokens += rows.tokens
        inDetail += rows.details
      }
      return { records, tokens, details: inDetail }
    },
    setAside: () => {
      let tokens = 0
      for (const { record } of aside.values()) tokens += record.tokens_generated
      return { records: aside.size, tokens }
    },
    oldestWaitingAt: () => {
      let oldest: string | undefined
      const firstOf = (rows: Iterable<JournalRecord>): void => {
        for (const row of rows) {
          if (oldest === undefined || row.ended_at < oldest) oldest = row.ended_at
        }
      }
      firstOf(take(details.values(), 1))
      firstOf(merged.values())
      for (const rows of batches.values()) firstOf(rows.values())
      return oldest === undefined ? undefined : Date.parse(oldest)
    }
  }
}
