import {
  Cause,
  Clock,
  Duration,
  Effect,
  Fiber,
  Layer,
  Option,
  type Pull,
  Schema,
  type Scope,
  Stream,
  Tracer
} from "effect"
import { decodeControl, encodeControl } from "../internal/connection/workerRpc.ts"
import { InProcessCall, type Next } from "../internal/inProcess/inProcessCall.ts"
import { decodePredictReply, encodePredictRequest } from "../internal/inProcess/predictMessages.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { CONTROL_PATH, STREAM_PREDICT_PATH } from "../internal/wire/aiContract.ts"
import { makeDecompress, OWN_LIMITS } from "../internal/wire/decompress.ts"
import { frame, PREFIX_BYTES } from "../internal/wire/frames.ts"
import { first } from "../internal/wire/metadata.ts"
import { statusOf } from "../internal/wire/streamStatus.ts"
import { SidecarRoutes } from "../services/GrpcServer.ts"
import { type CallOptions, LlmClient, PredictError, type PredictReply, PredictRequest } from "../services/LlmClient.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as Status from "../services/Status.ts"
import { FrameTooLarge } from "../services/StreamError.ts"
import type { Metadata, Status as GrpcStatus } from "../services/Wire.ts"

const errorOf = ({ code, message, metadata }: GrpcStatus, delivered: number): PredictError => {
  const retryAfter = Number.parseInt(first(metadata, "grpc-retry-pushback-ms") ?? "", 10)
  return new PredictError({
    code,
    reason: first(metadata, "cy-reason") ?? "",
    message: message === "" ? Status.codeName(code) : message,
    delivered,
    ...(Number.isSafeInteger(retryAfter) && retryAfter >= 0 ? { retryAfterMillis: retryAfter } : {})
  })
}

/** The W3C trace context of the caller's span, so that the sidecar's and the worker's spans hang below it. */
const traceparentOf = (span: Tracer.AnySpan): string =>
  `00-${span.traceId.padStart(32, "0")}-${span.spanId.padStart(16, "0")}-0${span.sampled ? 1 : 0}`

/** The sidecar's own notice is for people who look at a stream; an application has the worker's status. */
const metadataOf = (options: CallOptions | undefined, span: Option.Option<Tracer.AnySpan>): Metadata => ({
  ...(Option.isSome(span) ? { traceparent: traceparentOf(span.value) } : {}),
  "cy-notice": "none",
  ...options?.metadata
})

/** For whoever does not type-check, and for numbers that the types cannot tell from others. */
const checkRequest = Schema.decodeUnknownEffect(PredictRequest)

/**
 * {@link LlmClient} over the routes of this very process: the handlers that answer gateways answer the application, without
 * a socket between.
 */
export const layer: Layer.Layer<LlmClient, never, SidecarRoutes | SidecarConfig> = Layer.effect(
  LlmClient,
  Effect.gen(function*() {
    const { metering, server } = yield* SidecarConfig
    const { fallback, routes } = yield* SidecarRoutes
    const now = monotonicMillis(yield* Clock.Clock)
    const decompress = makeDecompress(OWN_LIMITS)

    /** Opens a call in the scope; closing it cancels what is left, and waits until the sidecar has finished its work. */
    const open = Effect.fnUntraced(function*(
      path: string,
      request: Uint8Array,
      options: CallOptions | undefined
    ): Effect.fn.Return<Effect.Effect<Next>, PredictError, Scope.Scope> {
      const limit = server.max_message_bytes
      if (request.length > limit) {
        return yield* errorOf(statusOf(new FrameTooLarge({ side: "request", bytes: request.length, limit })), 0)
      }
      const call = new InProcessCall({
        path,
        request: frame(request),
        metadata: metadataOf(options, yield* Effect.serviceOption(Tracer.ParentSpan)),
        timeoutMillis: options?.timeout === undefined ? undefined : Duration.toMillis(options.timeout),
        arrivedAt: now()
      })
      const handler = routes.get(path) ?? fallback
      const fiber = yield* Effect.forkScoped(handler(call), { startImmediately: true })
      yield* Effect.addFinalizer(() => Effect.andThen(Effect.sync(() => call.leave()), Fiber.interrupt(fiber)))
      return Effect.callback<Next>((resume) => call.ask((next) => resume(Effect.succeed(next))))
    })

    const plain = (next: Extract<Next, { _tag: "Frame" }>): Effect.Effect<Uint8Array, GrpcStatus> => {
      const message = next.frame.subarray(PREFIX_BYTES)
      return next.frame[0] === 0 ? Effect.succeed(message) : decompress(message, next.encoding)
    }

    const replies: LlmClient["Service"]["replies"] = (request, options) =>
      Stream.unwrap(Effect.gen(function*() {
        const checked = yield* Effect.mapError(checkRequest(request), ({ message }) =>
          errorOf(Status.make(Status.Code.INVALID_ARGUMENT, message, { "cy-reason": "invalid_request" }), 0))
        const ask = yield* open(STREAM_PREDICT_PATH, encodePredictRequest(checked), options)
        let delivered = 0
        const pull = Effect.flatMap(ask, (next): Pull.Pull<readonly [PredictReply], PredictError> => {
          if (next._tag === "End") {
            if (next.status.code !== Status.Code.OK) {
              return Effect.fail(errorOf(next.status, delivered))
            }
            options?.onTrailers?.(next.status.metadata)
            return Cause.done()
          }
          return Effect.mapBoth(plain(next), {
            onFailure: (status) =>
              errorOf(status, delivered),
            onSuccess: (message) => {
              const reply = decodePredictReply(message, metering.notice_prefixes)
              if (reply.chunk !== "" && !reply.isNotice) {
                delivered++
              }
              return [reply] as const
            }
          })
        })
        return Stream.fromPull(Effect.succeed(pull))
      }))

    const tokens: LlmClient["Service"]["tokens"] = (request, options) =>
      replies(request, options).pipe(
        Stream.filter((reply) => reply.chunk !== "" && !reply.isNotice),
        Stream.map((reply) => reply.chunk)
      )

    const control: LlmClient["Service"]["control"] = (command, payload = {}, options) =>
      Effect.scoped(Effect.gen(function*() {
        const ask = yield* open(CONTROL_PATH, encodeControl({ traceId: "", command, payload }), options)
        let answer: Readonly<Record<string, string>> | undefined
        let next = yield* ask
        while (next._tag === "Frame") {
          const message = yield* Effect.mapError(plain(next), (status) => errorOf(status, 0))
          answer ??= decodeControl(message)?.payload
          next = yield* ask
        }
        if (next.status.code !== Status.Code.OK) return yield* errorOf(next.status, 0)
        if (answer !== undefined) return answer
        return yield* errorOf(Status.make(Status.Code.INTERNAL, "The answer is not a ControlMessage"), 0)
      }))

    return LlmClient.of({ tokens, replies, control })
  })
)
