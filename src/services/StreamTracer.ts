import { Context } from "effect"
import type { UsageEnd, UsageTally } from "./UsageMeter.ts"
import type { Metadata } from "./Wire.ts"

/** The span of one StreamPredict call. */
export interface StreamSpan {
  /** The `traceparent` for the worker, so that its spans hang below ours; `undefined`: the gateway's passes unchanged. */
  readonly traceparent: string | undefined
  /** Ends the span with what the meter knows. Only the first call counts. */
  readonly end: (tally: UsageTally, end: UsageEnd) => void
}

/** Makes a span of each stream. Synchronous: spans are handed over and exported in the background. */
export interface StreamTracing {
  /** `metadata`: the gateway's; its `traceparent` is the parent, and decides whether the stream is sampled. */
  readonly start: (metadata: Metadata) => StreamSpan
}

const untraced: StreamSpan = { traceparent: undefined, end: () => undefined }

/** Traces nothing. */
export const noTracing: StreamTracing = { start: () => untraced }

/**
 * The tracing of streams. A reference: without a layer (`layers/Tracing`) nothing is traced, and a stream pays one call
 * of an empty function.
 */
export const StreamTracer = Context.Reference<StreamTracing>("cy-llm-sidecar/StreamTracer", {
  defaultValue: () => noTracing
})
