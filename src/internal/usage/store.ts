import type { JournalRecord, OpenStream, Sum } from "../../services/UsageJournal.ts"
import type { PackedCounts } from "./counts.ts"

/**
 * What is handed to the store in one transaction. Groups of one `session` (one life of the process) are numbered without
 * gaps: a group whose number is already in the file has been committed, and is not written again.
 */
export interface UsageGroup<Closed = ReadonlyArray<JournalRecord>> {
  readonly session: string
  readonly sequence: number
  /** Wall clock, milliseconds since the epoch. */
  readonly at: number
  readonly opened: ReadonlyArray<OpenStream>
  /** Slots of open rows whose stream has ended. */
  readonly ended: ReadonlyArray<number>
  readonly closed: Closed
  /** `undefined`: the last checkpoint stays. */
  readonly counts: PackedCounts | undefined
}

/** Sums that are kept for ever, by name. */
export type TotalName = "delivered" | "acknowledged" | "merged"

/**
 * PORT of the journal's policy (`ledger.ts`) to what keeps the rows. Synchronous: it runs where the rows are. A record
 * is in exactly one place: the queue (growing or not), a batch, or aside. `Closed`: how it takes the records of a group.
 */
export interface UsageStore<Closed> {
  /** All of `body` or nothing. */
  readonly transaction: <A>(body: () => A) => A
  readonly meta: (key: string) => string | undefined
  readonly setMeta: (key: string, value: string) => void
  readonly total: (name: TotalName) => Sum
  readonly addTotal: (name: TotalName, sum: Sum) => void

  readonly saveOpen: (streams: ReadonlyArray<OpenStream>) => void
  readonly dropOpen: (slots: ReadonlyArray<number>) => void
  /** Replaces the last ones, whole or not at all, in a transaction or without one. `at`: wall clock, milliseconds. */
  readonly saveCounts: (counts: PackedCounts, at: number) => void
  readonly open: () => { readonly streams: ReadonlyArray<OpenStream>; readonly counts: PackedCounts }
  readonly clearOpen: () => void

  /** `session` writes from now on: no group of it is here. */
  readonly startSession: (session: string) => void
  /** The number of the last group of the session that is here; 0: none. */
  readonly lastSequence: () => number
  /** When something was written last. Milliseconds since the epoch. */
  readonly aliveAt: () => number
  /** Appends the records of a group to the queue, and counts them as delivered. */
  readonly append: (group: Pick<UsageGroup<Closed>, "sequence" | "at" | "closed">) => void
  /** Appends to the queue, and counts it as delivered. */
  readonly add: (record: JournalRecord) => void
  /** The oldest records of the queue that are in no batch. */
  readonly oldest: (limit: number) => ReadonlyArray<JournalRecord>
  /**
   * Takes the oldest of them that are not merged out of the queue. May answer those of one merge key (`merge.ts`) as one
   * merged record.
   */
  readonly takeDetails: (limit: number) => ReadonlyArray<JournalRecord>
  /** The merged record that still grows for this key. */
  readonly growing: (key: string) => JournalRecord | undefined
  /** Adds or replaces the growing record of a key; one with another id grows no more. */
  readonly grow: (key: string, record: JournalRecord) => void
  readonly remove: (recordIds: ReadonlyArray<string>) => void
  /** Moves records into a batch, out of the queue or of another batch. A merged record in it grows no more. */
  readonly assign: (recordIds: ReadonlyArray<string>, batchId: string) => void
  /** The oldest batch but `except`. */
  readonly firstBatch: (except: string | undefined) => string | undefined
  readonly batch: (batchId: string) => ReadonlyArray<JournalRecord>
  readonly putAside: (recordIds: ReadonlyArray<string>, reason: string) => void
  /** Back into the queue; all without ids. */
  readonly putBack: (recordIds: ReadonlyArray<string> | undefined) => number
  /**
   * Records that wait with more than `most` tokens for each of their streams, and the batches they are in. One that has
   * been aside before is not among them: somebody wants it sent.
   */
  readonly doubtful: (
    most: number
  ) => ReadonlyArray<{ readonly record: JournalRecord; readonly batchId: string | undefined }>
  readonly aside: () => ReadonlyArray<{ readonly record: JournalRecord; readonly reason: string }>
  /** Adds what was acknowledged to the hourly totals that `sidecar usage` shows. */
  readonly addHistory: (records: ReadonlyArray<JournalRecord>) => void
  /** Rows and tokens waiting (in the queue or in a batch); `details`: those that are not merged. Cheap. */
  readonly waiting: () => Sum & { readonly details: number }
  readonly setAside: () => Sum
  /** Milliseconds since the epoch; `undefined` when nothing waits. */
  readonly oldestWaitingAt: () => number | undefined
}
