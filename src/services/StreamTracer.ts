import { Context } from "effect"
import type { UsageEnd, UsageTally } from "./UsageMeter.ts"
import type { Metadata, Status } from "./Wire.ts"

/**
 * What happens to a stream on its way: it waits for a worker that is away (`held`) or for a place at the worker (`queued`),
 * it goes on from there (`sent`), it is sent to a worker again (`replayed`), its first token comes.
 */
export type SpanEvent = "held" | "queued" | "sent" | "replayed" | "first_token"

/** How a call ended; `status` is what the gateway was told. */
export interface SpanEnd extends UsageEnd {
  readonly status?: Status | undefined
}

/** The span of one StreamPredict call. */
export interface StreamSpan {
  /** The `traceparent` for the worker, so that its spans hang below ours; `undefined`: the gateway's passes unchanged. */
  readonly traceparent: string | undefined
  /** A trace begins here: a `tracestate` of the gateway's belongs to none (W3C Trace Context, "Mutating the traceparent Field"). */
  readonly root: boolean
  /** The trace it is exported in, 32 hexadecimal digits; `undefined`: it is not exported. */
  readonly traceId: string | undefined
  /** Something happens to it now. */
  readonly event: (event: SpanEvent) => void
  /**
   * Ends the span with what the meter knows; a call that was refused before it became a stream has no tally. Only the first
   * call counts.
   */
  readonly end: (tally: UsageTally | undefined, end: SpanEnd) => void
}

/** Makes a span of each stream. Synchronous: spans are handed over and exported in the background. */
export interface StreamTracing {
  /** `metadata`: the gateway's; its `traceparent` is the parent, and decides whether the stream is sampled. */
  readonly start: (metadata: Metadata) => StreamSpan
}

const untraced: StreamSpan = {
  traceparent: undefined,
  root: false,
  traceId: undefined,
  event: () => undefined,
  end: () => undefined
}

/** Traces nothing. */
export const noTracing: StreamTracing = { start: () => untraced }

/**
 * The tracing of streams. A reference: without a layer (`layers/Tracing`) nothing is traced, and a stream pays calls of
 * empty functions.
 */
export const StreamTracer = Context.Reference<StreamTracing>("cy-llm-sidecar/StreamTracer", {
  defaultValue: () => noTracing
})
