import { Context, type Duration, Effect, Schema, Stream } from "effect"
import type { Metadata } from "./Wire.ts"

const Text = Schema.optionalKey(Schema.UndefinedOr(Schema.String))
const Number64 = Schema.optionalKey(Schema.UndefinedOr(Schema.Finite))
const int = (minimum: number, maximum: number) =>
  Schema.optionalKey(Schema.UndefinedOr(Schema.Int.check(Schema.isBetween({ minimum, maximum }))))

/**
 * One generation to ask for: StreamPredictRequest of `proto/ai_service.proto` with its metadata beside it. What is left out
 * is proto3's empty value, which leaves the choice to the worker.
 */
export const PredictRequest = Schema.Struct({
  /** `model_id`. */
  model: Schema.String,
  prompt: Schema.String,
  /** Name of a LoRA adapter. */
  adapter: Text,
  /** Lower numbers are served first. */
  priority: int(-2_147_483_648, 2_147_483_647),
  generation: Schema.optionalKey(Schema.UndefinedOr(Schema.Struct({
    maxNewTokens: int(0, 4_294_967_295),
    temperature: Number64,
    topP: Number64,
    repetitionPenalty: Number64
  }))),
  workerHint: Text,
  traceId: Text,
  tenant: Text,
  playerId: Text,
  /** BCP 47, for example `zh-CN`. */
  locale: Text,
  extra: Schema.optionalKey(Schema.UndefinedOr(Schema.Record(Schema.String, Schema.String)))
})
export type PredictRequest = typeof PredictRequest.Type

/** One piece of an answer: StreamPredictResponse of `proto/ai_service.proto`. */
export const PredictReply = Schema.Struct({
  traceId: Schema.String,
  /** Generated text, or a notice for people; may be empty, and usually is in the last reply. */
  chunk: Schema.String,
  /** The chunk is a notice (`[metering] notice_prefixes`), not the model's words. */
  isNotice: Schema.Boolean,
  endOfStream: Schema.Boolean,
  /** Counts from 0, notices included. */
  index: Schema.Int,
  /** Milliseconds to the first token as the worker says; reliable only with `endOfStream`. */
  ttftMillis: Schema.Number,
  /** Tokens per second over the whole answer as the worker says; reliable only with `endOfStream`. */
  tokensPerSec: Schema.Number
})
export type PredictReply = typeof PredictReply.Type

/**
 * A call did not end with OK.
 *
 * - `code`, `message`: the gRPC status, as a gateway would have seen it;
 * - `reason`: the stable `cy-reason` word (docs/gateways.md), empty when the worker's own status has none;
 * - `retryAfterMillis`: when it makes sense to come back, if that is known;
 * - `delivered`: token chunks that the caller has been given.
 */
export class PredictError extends Schema.TaggedError<PredictError>()("PredictError", {
  code: Schema.Int,
  reason: Schema.String,
  message: Schema.String,
  retryAfterMillis: Schema.optionalKey(Schema.Int),
  delivered: Schema.Int
}) {}

/** What one call may say beside its request. */
export interface CallOptions {
  /** The caller's deadline, counted from the start of the call. Default: none. */
  readonly timeout?: Duration.Input | undefined
  /** gRPC metadata for the worker: lower-case keys, `-bin` values in base64. */
  readonly metadata?: Metadata | undefined
  /** Hears the trailers of an end with OK before the Stream ends: `cy-completion-tokens`, `cy-prompt-tokens`, a worker's own. */
  readonly onTrailers?: ((trailers: Metadata) => void) | undefined
}

/**
 * A model in process: the same way as a gateway's call, through hold, queue, replay and meter, without a socket.
 *
 * **Details**
 *
 * A Stream takes one frame for each pull; what was not pulled was neither delivered nor counted. Who does not pull stops the
 * worker, and after `[server] slow_reader_timeout_secs` loses the stream. Interrupting it, or taking only its beginning,
 * cancels the call at the worker and closes its usage record as `cancelled`, before the interruption completes.
 *
 * Implementation: `layers/InProcessClient`.
 */
export class LlmClient extends Context.Service<LlmClient, {
  /** The generated text alone, piece by piece: no notices, nothing empty. */
  readonly tokens: (request: PredictRequest, options?: CallOptions) => Stream.Stream<string, PredictError>
  /** Every reply of the worker. */
  readonly replies: (request: PredictRequest, options?: CallOptions) => Stream.Stream<PredictReply, PredictError>
  /** One Control command, `sidecar.*` among them; answers the payload. `status: "error"` in it is an answer, too. */
  readonly control: (
    command: string,
    payload?: Readonly<Record<string, string>>,
    options?: CallOptions
  ) => Effect.Effect<Readonly<Record<string, string>>, PredictError>
}>()("cy-llm-sidecar/LlmClient") {
  /** {@link LlmClient}'s `tokens`, for whoever has the service in the context. */
  static readonly tokens = (
    request: PredictRequest,
    options?: CallOptions
  ): Stream.Stream<string, PredictError, LlmClient> =>
    Stream.unwrap(Effect.map(LlmClient, (client) => client.tokens(request, options)))

  /** {@link LlmClient}'s `replies`, for whoever has the service in the context. */
  static readonly replies = (
    request: PredictRequest,
    options?: CallOptions
  ): Stream.Stream<PredictReply, PredictError, LlmClient> =>
    Stream.unwrap(Effect.map(LlmClient, (client) => client.replies(request, options)))

  /** {@link LlmClient}'s `control`, for whoever has the service in the context. */
  static readonly control = (
    command: string,
    payload?: Readonly<Record<string, string>>,
    options?: CallOptions
  ): Effect.Effect<Readonly<Record<string, string>>, PredictError, LlmClient> =>
    Effect.flatMap(LlmClient, (client) => client.control(command, payload, options))
}
