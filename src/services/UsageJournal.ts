import { Context, Data, type Effect, Runtime, Schema } from "effect"
import type { StreamIdentity, UsageRecord } from "./UsageRecord.ts"

/**
 * What stands in the way of the journal while the sidecar runs. Streams go on and the counts wait in memory.
 *
 * - `full`: no space left, or a quota; `readonly`: the folder or the file cannot be written;
 * - `corrupt`: the file was damaged (it is set aside and a fresh one begins);
 * - `locked`: another process holds the file; `stalled`: the disk does not answer; `stopped`: the writer died and is
 *   being started again; `moved`: the file was moved or deleted under the sidecar; `io`: anything else.
 */
export type JournalFaultReason = "full" | "readonly" | "corrupt" | "locked" | "stalled" | "stopped" | "moved" | "io"

/** The journal could not do what was asked; it did none of it. Temporary: ask again later. */
export class JournalFault extends Data.TaggedError("JournalFault")<{
  readonly operation: string
  readonly reason: JournalFaultReason
  readonly detail: string
}> {
  override get message(): string {
    return this.detail
  }
}

/**
 * The journal can never work as configured: the daemon does not start. One line for people, with the key and the remedy.
 *
 * - `locked`: another sidecar writes this file (exit code 73);
 * - `not_a_file`: the path is a folder, or lies below a file; `foreign`: a database of something else; `newer`: written
 *   by a newer sidecar (exit code 78).
 */
export class JournalError extends Schema.TaggedError<JournalError>()("JournalError", {
  reason: Schema.Literals(["locked", "not_a_file", "foreign", "newer"]),
  path: Schema.String,
  detail: Schema.String
}) {
  override readonly [Runtime.errorExitCode]: number = this.reason === "locked" ? 73 : 78
  override readonly [Runtime.errorReported] = false
  override get message(): string {
    return `[metering] journal_path = "${this.path}": ${this.detail}`
  }
}

/**
 * How the journal is now, for `/readyz`, the status page and logs; read synchronously.
 *
 * - `since`: wall clock, milliseconds since the epoch;
 * - `detail`: one sentence for the operator; may name the path, so not for gateways;
 * - `unsaved`: closed records that wait in memory until the file can be written again.
 */
export type JournalCondition =
  | { readonly _tag: "ok" }
  | {
    readonly _tag: "failing"
    readonly reason: JournalFaultReason
    readonly detail: string
    readonly since: number
    readonly unsaved: number
  }

/** A stream that runs. `slot` is its number within this process, from 1. */
export interface OpenStream {
  readonly slot: number
  readonly recordId: string
  /** Wall clock, milliseconds since the epoch. */
  readonly startedAt: number
  readonly identity: StreamIdentity | undefined
}

/** A record as the journal keeps it: the journal itself knows its `sidecar_id`. */
export type JournalRecord = Omit<UsageRecord, "sidecar_id">

/** Records in one immutable report; the same `batchId` always has the same records in the same order. */
export interface UsageBatch {
  readonly batchId: string
  readonly sidecarId: string
  readonly records: ReadonlyArray<UsageRecord>
}

/** A record to be set aside, and why. */
export interface RecordAtFault {
  readonly recordId: string
  readonly reason: string
}

/** What became of a batch. */
export type Settlement = Data.TaggedEnum<{
  /** Delivered: the records leave the queue and live on in the totals. */
  Acknowledged: {}
  /**
   * Some records are delivered and some are set aside, by their `record_id`; the others are in a new batch. Ids that are not
   * in the batch mean nothing.
   */
  Partly: { readonly acknowledged: ReadonlyArray<string>; readonly setAside: ReadonlyArray<RecordAtFault> }
  /** Two batches of half the size take its place. Of a batch of one: the same as SetAside. */
  Split: { readonly reason: string }
  /** The record at fault leaves the queue and is kept for people to look at. */
  SetAside: { readonly reason: string }
}>
export const Settlement = Data.taggedEnum<Settlement>()

/** So many records, with so many tokens in them. */
export interface Sum {
  readonly records: number
  readonly tokens: number
}

/**
 * Where the tokens are. Always: `delivered.tokens` = `acknowledged.tokens` + `waiting.tokens` + `setAside.tokens`, over
 * the whole life of the file. Streams that still run are not in it.
 */
export interface UsageBalance {
  /** Closed, ever. `records` counts streams. */
  readonly delivered: Sum
  readonly acknowledged: Sum
  /** `records` counts rows: a merged record is one. */
  readonly waiting: Sum
  readonly setAside: Sum
  /** Streams whose detail was merged, ever. */
  readonly mergedStreams: number
  /** Closed, and only in memory because the file cannot be written; included in `delivered` and `waiting`. */
  readonly unsaved: Sum
  /** End of the oldest stream that waits, milliseconds since the epoch. */
  readonly oldestWaitingAt: number | undefined
}

/** A record that the billing service refused, and its words. */
export interface SetAsideRecord {
  readonly record: UsageRecord
  readonly reason: string
}

/**
 * The durable queue between the meter and the billing service (docs/design.md §7). What is handed in is written in groups; the
 * synchronous members never wait for a disk. Implementations: `SqliteJournal` (the daemon's), `MemoryJournal`.
 */
export class UsageJournal extends Context.Service<UsageJournal, {
  /** Stable for one journal file. */
  readonly sidecarId: () => string
  /** Notes that a stream runs, or that its identity is known now. */
  readonly opened: (stream: OpenStream) => void
  /**
   * The counters of **all** running streams that have counted something, packed by `internal/usage/counts.ts`; takes the
   * place of the last checkpoint.
   */
  readonly checkpoint: (counts: Uint8Array) => void
  /** The stream in `slot` has ended. Completes when that is committed, or at once while the journal is failing. */
  readonly closed: (slot: number, record: JournalRecord) => Effect.Effect<void>
  /** Changes when a fresh file took the place of a damaged one: the running streams must be `opened` again. */
  readonly generation: () => number
  /**
   * The oldest batch that is not settled, or a new one of at most `limit` records; `undefined` when nothing waits.
   * `except`: the id of a batch to pass over.
   */
  readonly nextBatch: (
    limit: number,
    except?: string | undefined
  ) => Effect.Effect<UsageBatch | undefined, JournalFault>
  /** Unknown batches are ignored: settling twice is harmless. */
  readonly settle: (batchId: string, settlement: Settlement) => Effect.Effect<void, JournalFault>
  readonly setAside: Effect.Effect<ReadonlyArray<SetAsideRecord>, JournalFault>
  /** Puts records that were set aside back into the queue (all, without ids); answers how many. */
  readonly retrySetAside: (recordIds?: ReadonlyArray<string> | undefined) => Effect.Effect<number, JournalFault>
  /** While the file cannot be read: as it was last known. */
  readonly balance: Effect.Effect<UsageBalance>
  readonly condition: () => JournalCondition
}>()("cy-llm-sidecar/UsageJournal") {}
