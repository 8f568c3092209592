// Without Effect: the thread that writes the journal reads these, and loads nothing that it does not need.
import type { StreamIdentity, TokenSource } from "./UsageRecord.ts"

/** What was seen in reply frames. Plain mutable fields: counting a token is a few additions. */
export interface ReplyCounts {
  /** Frames of any kind. */
  frames: number
  /** Bytes of their messages, without the 5-byte prefixes. */
  bytes: number
  /** Token chunks: not empty, and not notices. */
  chunks: number
  /** Of the chunks, those with more text than one token has. */
  largeChunks: number
  notices: number
  /** Frames that are not valid protobuf: passed on, counted nowhere else. */
  malformed: number
  /** A frame with `end_of_stream = true` came. */
  ended: boolean
}

export const noReplies = (): ReplyCounts => ({
  frames: 0,
  bytes: 0,
  chunks: 0,
  largeChunks: 0,
  notices: 0,
  malformed: 0,
  ended: false
})

/**
 * The counters of one stream, a fresh one for each, written by the path of the stream and read by the meter. What is
 * counted is what was handed to the gateway's stream.
 */
export interface UsageTally extends ReplyCounts {
  /** UUIDv7, fixed when opened. */
  readonly recordId: string
  /** Wall clock, milliseconds since the epoch. */
  readonly startedAt: number
  identity: StreamIdentity | undefined
  /** Generated tokens by the worker's own word, once it has told. */
  workerTokens: number | undefined
  promptTokens: number | undefined
  /** What the worker said in `cy-completion-tokens`, where that was no count to believe. */
  doubtedTokens: string | undefined
  /** The same of `cy-prompt-tokens`. */
  doubtedPrompt: string | undefined
  replays: number
  heldMillis: number
  /** Milliseconds from arrival to the first token chunk. */
  ttftMillis: number | undefined
}

/**
 * The largest count of tokens that is believed of one stream: far beyond every model's context, and a sum of millions of
 * them is still an exact number.
 */
export const mostTokens = 1_000_000_000

/** Generated tokens: one a token chunk, unless the worker has reported its own number. */
export const tokensOf = (tally: UsageTally): number => tally.workerTokens ?? tally.chunks

/** Where {@link tokensOf} is from. */
export const tokenSourceOf = (tally: UsageTally): TokenSource => tally.workerTokens === undefined ? "chunk" : "worker"
