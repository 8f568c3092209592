import type {
  JournalError,
  JournalFaultReason,
  SetAsideRecord,
  Settlement,
  UsageBalance,
  UsageBatch
} from "../../services/UsageJournal.ts"
import type { PackedCounts } from "./counts.ts"
import type { Retention } from "./ledger.ts"
import type { SpeltRecords } from "./spelling.ts"
import type { UsageGroup } from "./store.ts"

/** What the file of a journal is opened with. */
export interface JournalFileOptions {
  readonly path: string
  readonly durability: "crash" | "power-loss"
  readonly retention: Retention
  readonly session: string
  /** Used when the file has none yet. */
  readonly sidecarId: string
  /** Of the threads before this one; a thread that finds no trace of the session adds one. */
  readonly generation: number
}

/** What the thread of the journal is started with. */
export interface ThreadOptions extends JournalFileOptions {
  /** Shared memory of one cell: 1 from when a checkpoint is posted until it is written, or known to be lost; else 0. */
  readonly onItsWay: Int32Array
}

/** A group on its way to the thread: a long text is copied in a tenth of the time that its records take. */
export type PostedGroup = UsageGroup<SpeltRecords>

/** What is asked of the thread. `now`: wall clock, milliseconds since the epoch. */
export type Command =
  | { readonly op: "begin" }
  | { readonly op: "commit"; readonly group: PostedGroup }
  | { readonly op: "nextBatch"; readonly limit: number; readonly except?: string | undefined }
  | { readonly op: "settle"; readonly batchId: string; readonly settlement: Settlement }
  | { readonly op: "setAside" }
  | { readonly op: "retrySetAside"; readonly recordIds: ReadonlyArray<string> | undefined }
  | { readonly op: "balance" }
  | { readonly op: "stop" }

export interface Request {
  readonly id: number
  readonly now: number
  readonly command: Command
}

/** Counters to be written. It has no answer when that is done, which would wake the sidecar for nothing. */
export interface Checkpoint {
  readonly now: number
  readonly counts: PackedCounts
}

/** What is told of a checkpoint that was not written, or with news: a commit must follow, and its reply has the words. */
export interface CheckpointNews {
  readonly sidecarId: string
  readonly generation: number
  readonly fault: { readonly reason: JournalFaultReason; readonly detail: string } | undefined
}

/** Words for the log, from the thread. */
export interface Notice {
  readonly level: "info" | "error"
  readonly text: string
  /** It is a fault of the journal, to be counted as one. */
  readonly fault?: JournalFaultReason
}

/** The answer to a command: only what it asked for is there. */
export interface Answer {
  readonly interrupted?: number
  readonly batch?: UsageBatch | undefined
  readonly setAside?: ReadonlyArray<SetAsideRecord>
  readonly moved?: number
  readonly balance?: UsageBalance
}

/** `unusable`: the file can never work as it is. */
export interface Reply {
  readonly id: number
  /** Of the command that is answered. */
  readonly op: Command["op"]
  readonly sidecarId: string
  readonly generation: number
  readonly notices: ReadonlyArray<Notice>
  readonly result:
    | { readonly _tag: "done"; readonly answer: Answer }
    | { readonly _tag: "fault"; readonly reason: JournalFaultReason; readonly detail: string }
    | { readonly _tag: "unusable"; readonly reason: JournalError["reason"]; readonly detail: string }
}
