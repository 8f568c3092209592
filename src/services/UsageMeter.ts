import { Context, type Effect } from "effect"
import type { Outcome, StreamIdentity, TokenSource } from "./UsageRecord.ts"

/**
 * The counters of one stream. Plain mutable fields, written by the path of the stream and read by the meter: counting a
 * token is one addition. What is counted is what was handed to the gateway's stream.
 */
export interface UsageTally {
  /** UUIDv7, fixed when opened. */
  readonly recordId: string
  /** Wall clock, milliseconds since the epoch. */
  readonly startedAt: number
  identity: StreamIdentity | undefined
  /** Generated tokens: one a token chunk, until the worker reports its own number. */
  tokens: number
  promptTokens: number | undefined
  tokenSource: TokenSource
  /** Token chunks handed to the gateway. */
  chunks: number
  /** Bytes of all frames handed to the gateway, without their 5-byte prefixes. */
  bytes: number
  notices: number
  replays: number
  heldMillis: number
  /** Milliseconds from arrival to the first token chunk. */
  ttftMillis: number | undefined
}

/** How a metered stream ended. */
export interface UsageEnd {
  readonly outcome: Outcome
  readonly grpcStatus: number
}

/**
 * One usage record for each admitted stream. `open` and the tally are synchronous and never wait for a disk; `close`
 * completes when the end is committed, or when the journal cannot be written (then the count waits in memory).
 */
export class UsageMeter extends Context.Service<UsageMeter, {
  readonly open: () => UsageTally
  readonly close: (tally: UsageTally, end: UsageEnd) => Effect.Effect<void>
}>()("cy-llm-sidecar/UsageMeter") {}
