import type {
  JournalRecord,
  OpenStream,
  SetAsideRecord,
  Settlement,
  UsageBalance,
  UsageBatch
} from "../../services/UsageJournal.ts"
import { mostTokens } from "../../services/UsageTally.ts"
import { type OpenCounts, type PackedCounts, unpackCounts } from "./counts.ts"
import { fits, merge, mergeKey, shareKey, startMerge, sumOf } from "./merge.ts"
import type { UsageGroup, UsageStore } from "./store.ts"

/**
 * How much stays in detail.
 *
 * - `limit`: `[metering] offline_queue_size`;
 * - `countMerged`: with a billing service the limit is for all rows that wait; without one it is for those in detail, and
 *   the merged ones are kept for ever.
 */
export interface Retention {
  readonly limit: number
  readonly countMerged: boolean
}

/** What a journal knows when it begins. */
export interface Beginning {
  readonly sidecarId: string
  /** The session was in the file already: a writer that was started again. */
  readonly resumed: boolean
  /** The last group of this session that is in the file; 0 for a new session. */
  readonly sequence: number
  /** Streams that a process before us left open, closed now as `interrupted`. */
  readonly interrupted: number
  /** Records of a sidecar before us that have more tokens than can be believed, set aside now. */
  readonly doubted: number
}

/** Rows merged in one step of a transaction: bounds the memory of a large backlog. */
const mergeStep = 1000
/** Beyond the limit this share of it is merged at once: a merge for each group would cost as much as its records. */
const mergeShare = 1 / 64

/** What the gateway of a sidecar that died sees: UNAVAILABLE. */
const unavailable = 14

const ids = (records: ReadonlyArray<JournalRecord>): ReadonlyArray<string> => records.map((record) => record.record_id)

/** The largest time that a date can be. Milliseconds since the epoch. */
const latest = 8.64e15

const iso = (millis: number): string => new Date(Math.abs(millis) <= latest ? millis : 0).toISOString()

const optional = (value: number): number | null => value < 0 ? null : value

/** Counters of a file that may be older than the bound on them. */
const believed = (counts: OpenCounts): OpenCounts => ({
  ...counts,
  promptTokens: counts.promptTokens > mostTokens ? -1 : counts.promptTokens,
  ...(counts.tokens > mostTokens ? { tokens: counts.chunks, byWorker: 0 } : {})
})

const doubt = ({ prompt_tokens: prompt = 0, tokens_generated: tokens }: JournalRecord): string => {
  const [name, count] = tokens > prompt ? ["tokens_generated", tokens] : ["prompt_tokens", prompt]
  return `${name} ${count} is more than a worker can mean (${mostTokens} a stream); a retry sends it as it is`
}

const interrupted = (stream: OpenStream, counts: OpenCounts | undefined, aliveAt: number): JournalRecord => ({
  record_id: stream.recordId,
  trace_id: stream.identity?.traceId ?? "",
  model_id: stream.identity?.modelId ?? "",
  adapter: stream.identity?.adapter ?? "",
  tenant: stream.identity?.tenant ?? "",
  player_id: stream.identity?.playerId ?? "",
  prompt_chars: stream.identity?.promptChars ?? 0,
  ...(counts === undefined || counts.promptTokens < 0 ? {} : { prompt_tokens: counts.promptTokens }),
  tokens_generated: counts?.tokens ?? 0,
  chunks: counts?.chunks ?? 0,
  bytes: counts?.bytes ?? 0,
  notices: counts?.notices ?? 0,
  token_source: counts?.byWorker === 1 ? "worker" : "chunk",
  outcome: "interrupted",
  grpc_status: unavailable,
  replays: counts?.replays ?? 0,
  held_ms: counts?.heldMillis ?? 0,
  ttft_ms: optional(counts?.ttftMillis ?? -1),
  started_at: iso(stream.startedAt),
  ended_at: iso(Math.max(stream.startedAt, aliveAt))
})

/**
 * The policy of the journal, written once over any {@link UsageStore}: recovery, groups written once, merging, batches
 * that never change, quarantine and sums. Synchronous; each method is one transaction.
 */
export const makeLedger = <Closed>(store: UsageStore<Closed>, options: {
  readonly retention: Retention
  /** Mints record and batch ids; they sort by age. */
  readonly recordId: (millis: number) => string
}) => {
  const { recordId, retention } = options
  /** The session that writes. */
  let current: string | undefined

  const rowsBeyond = (limit: number): number => {
    const waiting = store.waiting()
    return (retention.countMerged ? waiting.records : waiting.details) - limit
  }

  const mergeExcess = (now: number): void => {
    if (rowsBeyond(retention.limit) <= 0) return
    const target = retention.limit - Math.floor(retention.limit * mergeShare)
    for (let excess = rowsBeyond(target); excess > 0; excess = rowsBeyond(target)) {
      const rows = store.takeDetails(Math.min(excess, mergeStep))
      if (rows.length === 0) return
      const grown = new Map<string, JournalRecord>()
      let last = rows[0]
      let key = ""
      for (const row of rows) {
        if (key === "" || last === undefined || !shareKey(row, last)) key = mergeKey(row)
        last = row
        const mine = grown.get(key)
        const into = mine ?? store.growing(key)
        if (into !== undefined && fits(into, row)) grown.set(key, merge(into, row))
        else {
          if (mine !== undefined) store.grow(key, mine)
          grown.set(key, startMerge(row, recordId(now)))
        }
      }
      for (const [key, record] of grown) store.grow(key, record)
      store.addTotal("merged", sumOf(rows))
    }
  }

  /** A batch is never changed: what is left of one gets a new id. */
  const setDoubtfulAside = (now: number): number => {
    const doubtful = store.doubtful(mostTokens)
    for (const { record } of doubtful) store.putAside([record.record_id], doubt(record))
    for (const batchId of new Set(doubtful.map((one) => one.batchId))) {
      const rest = batchId === undefined ? [] : store.batch(batchId)
      if (rest.length > 0) store.assign(ids(rest), recordId(now))
    }
    return doubtful.length
  }

  const read = (batchId: string): UsageBatch => {
    const sidecarId = store.meta("sidecar_id") ?? ""
    return {
      batchId,
      sidecarId,
      records: store.batch(batchId).map((record) => ({ ...record, sidecar_id: sidecarId }))
    }
  }

  const acknowledge = (rows: ReadonlyArray<JournalRecord>): void => {
    if (rows.length === 0) return
    store.addHistory(rows)
    store.addTotal("acknowledged", sumOf(rows))
    store.remove(ids(rows))
  }

  /** A batch is never changed: what nobody has answered for gets a new id. */
  const settlePart = (
    rows: ReadonlyArray<JournalRecord>,
    { acknowledged, setAside }: Extract<Settlement, { readonly _tag: "Partly" }>,
    now: number
  ): void => {
    const delivered = new Set(acknowledged)
    const faults = new Map(setAside.map(({ reason, recordId }) => [recordId, reason]))
    acknowledge(rows.filter((row) => delivered.has(row.record_id)))
    const left = rows.filter((row) => !delivered.has(row.record_id))
    for (const { record_id } of left) {
      const reason = faults.get(record_id)
      if (reason !== undefined) store.putAside([record_id], reason)
    }
    const open = left.filter((row) => !faults.has(row.record_id))
    if (open.length > 0) store.assign(ids(open), recordId(now))
  }

  return {
    /** The process called `session` writes from now on. */
    begin: (session: string, sidecarId: string, now: number): Beginning =>
      store.transaction(() => {
        const known = store.meta("sidecar_id")
        if (known === undefined) store.setMeta("sidecar_id", sidecarId)
        const same = store.meta("session") === session
        current = session
        let found = 0
        let doubted = 0
        if (!same) {
          const { counts, streams } = store.open()
          const bySlot = new Map(unpackCounts(counts).map((row) => [row.slot, believed(row)]))
          const aliveAt = store.aliveAt()
          const closed = streams.map((stream) => interrupted(stream, bySlot.get(stream.slot), aliveAt))
          store.startSession(session)
          for (const record of closed) store.add(record)
          store.clearOpen()
          doubted = setDoubtfulAside(now)
          mergeExcess(now)
          found = closed.length
        }
        return {
          sidecarId: known ?? sidecarId,
          resumed: same,
          sequence: store.lastSequence(),
          interrupted: found,
          doubted
        }
      }),

    commit: (group: UsageGroup<Closed>): void =>
      store.transaction(() => {
        if (group.session === current && store.lastSequence() >= group.sequence) return
        store.saveOpen(group.opened)
        store.dropOpen(group.ended)
        store.append(group)
        if (group.counts !== undefined) store.saveCounts(group.counts, group.at)
        mergeExcess(group.at)
      }),

    /** Many a second: it is one write and needs no transaction around it. */
    checkpoint: (counts: PackedCounts, now: number): void => store.saveCounts(counts, now),

    nextBatch: (limit: number, now: number, except?: string): UsageBatch | undefined =>
      store.transaction(() => {
        const first = store.firstBatch(except)
        if (first !== undefined) return read(first)
        const rows = store.oldest(limit)
        if (rows.length === 0) return undefined
        const batchId = recordId(now)
        store.assign(ids(rows), batchId)
        return read(batchId)
      }),

    settle: (batchId: string, settlement: Settlement, now: number): void =>
      store.transaction(() => {
        const rows = store.batch(batchId)
        if (rows.length === 0) return
        if (settlement._tag === "Acknowledged") {
          acknowledge(rows)
        } else if (settlement._tag === "Partly") {
          settlePart(rows, settlement, now)
        } else if (settlement._tag === "Split" && rows.length > 1) {
          const half = Math.ceil(rows.length / 2)
          store.assign(ids(rows.slice(0, half)), recordId(now))
          store.assign(ids(rows.slice(half)), recordId(now))
        } else {
          store.putAside(ids(rows), settlement.reason)
        }
      }),

    setAside: (): ReadonlyArray<SetAsideRecord> => {
      const sidecarId = store.meta("sidecar_id") ?? ""
      return store.aside().map(({ reason, record }) => ({ record: { ...record, sidecar_id: sidecarId }, reason }))
    },

    retrySetAside: (recordIds: ReadonlyArray<string> | undefined): number =>
      store.transaction(() => store.putBack(recordIds)),

    balance: (): UsageBalance =>
      store.transaction(() => {
        const { records, tokens } = store.waiting()
        return {
          delivered: store.total("delivered"),
          acknowledged: store.total("acknowledged"),
          waiting: { records, tokens },
          setAside: store.setAside(),
          mergedStreams: store.total("merged").records,
          unsaved: { records: 0, tokens: 0 },
          oldestWaitingAt: store.oldestWaitingAt()
        }
      })
  }
}

export type Ledger<Closed> = ReturnType<typeof makeLedger<Closed>>
