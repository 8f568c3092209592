import { Context, type Effect, Schema, type Stream } from "effect"
import type { PredictRequest } from "./LlmClient.ts"
import type { StreamError } from "./StreamError.ts"
import type { UsageRecord } from "./UsageRecord.ts"
import type { FrameBatch } from "./Wire.ts"

/**
 * A hook does not admit a stream.
 *
 * - `code`: the gRPC status, default 8 (RESOURCE_EXHAUSTED); `reason`: the `cy-reason` that the caller gets;
 * - `retryAfterMillis`: told in the way that gRPC libraries obey.
 */
export class StreamRefusal extends Schema.TaggedError<StreamRefusal>()("StreamRefusal", {
  code: Schema.optionalKey(Schema.Int),
  reason: Schema.String,
  message: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Int)
}) {}

/** What an application does with every stream, the gateways' and its own. Each part is optional and costs only itself. */
export interface StreamHook {
  /** Who it is, in the log and for the caller of a stream that it fails. */
  readonly name: string
  /**
   * Before a stream counts: a refusal has no usage record. What it does not say within `[server] first_message_timeout_secs`
   * (at most 10 s) is its failure.
   */
  readonly admit?: ((request: PredictRequest) => Effect.Effect<void, StreamRefusal>) | undefined
  /**
   * The model's text on its way, token by token; what comes out is delivered and counted. When it ends before the model does,
   * the call is cancelled at the worker and the stream is `completed`, with the trailer `cy-reason: stopped`. A request that
   * is sent again has its text anew.
   */
  readonly replies?:
    | ((tokens: Stream.Stream<string>, request: PredictRequest) => Stream.Stream<string, unknown>)
    | undefined
  /** After a stream, once its record is committed. Nobody waits for it. */
  readonly ended?: ((record: UsageRecord) => Effect.Effect<void, unknown>) | undefined
}

/**
 * The hooks of a sidecar, in the order in which a stream meets them. A hook that fails is its stream's failure only (UNKNOWN,
 * `cy-reason: hook_failed`), and is told once in the log.
 */
export class StreamHooks extends Context.Service<StreamHooks, ReadonlyArray<StreamHook>>()(
  "cy-llm-sidecar/StreamHooks"
) {}

/** Looks at the first batch of a call before it counts; fails with why the call is not let in. */
export type Admit = (first: FrameBatch, encoding: string | undefined) => Effect.Effect<void, StreamError>
