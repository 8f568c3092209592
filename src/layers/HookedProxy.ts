import { Cause, Effect, Fiber, Layer, Option } from "effect"
import { AdmittedCall } from "../internal/hooks/admittedCall.ts"
import { failureStatus, HookFailure, makeTeller } from "../internal/hooks/hookFailure.ts"
import { decodePredictRequest } from "../internal/inProcess/predictMessages.ts"
import { makeDecompress, OWN_LIMITS } from "../internal/wire/decompress.ts"
import { payloads } from "../internal/wire/frames.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import type { PredictRequest } from "../services/LlmClient.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as Status from "../services/Status.ts"
import { type StreamHook, StreamHooks, type StreamRefusal } from "../services/StreamHooks.ts"
import type { FrameBatch, Status as GrpcStatus } from "../services/Wire.ts"

/** A hook has so long to admit a stream, and never longer than a request may take to come. Milliseconds. */
const MOST_PATIENCE = 10_000

const refusalStatus = ({ code, message, reason, retryAfterMillis }: StreamRefusal): GrpcStatus =>
  Status.make(code ?? Status.Code.RESOURCE_EXHAUSTED, message, {
    "cy-reason": reason,
    ...(retryAfterMillis === undefined ? {} : { "grpc-retry-pushback-ms": String(retryAfterMillis) })
  })

/** Asks the hooks' `admit` before a stream counts. Without such a hook it is the proxy itself. */
export const layer: Layer.Layer<InferenceProxy, never, InferenceProxy | SidecarConfig> = Layer.effect(
  InferenceProxy,
  Effect.gen(function*() {
    const proxy = yield* InferenceProxy
    const hooks = Option.getOrElse(yield* Effect.serviceOption(StreamHooks), (): ReadonlyArray<StreamHook> => [])
    const admitting = hooks.flatMap(({ admit, name }) => admit === undefined ? [] : [{ admit, name }])
    if (admitting.length === 0) return proxy
    const { server } = yield* SidecarConfig
    const patience = () => Math.min(MOST_PATIENCE, server.first_message_timeout_secs * 900)
    const tell = makeTeller()
    const decompress = makeDecompress(OWN_LIMITS)
    const track = Fiber.runIn(yield* Effect.scope)
    const run = Effect.runForkWith(yield* Effect.context<never>())

    const ask = (request: PredictRequest): Effect.Effect<GrpcStatus | undefined> =>
      Effect.forEach(admitting, ({ admit, name }) =>
        Effect.suspend(() => admit(request)).pipe(
          Effect.timeout(patience()),
          Effect.catchCause((cause) => {
            const error = cause.reasons.find(Cause.isFailReason)?.error
            if (error?._tag === "StreamRefusal") return Effect.fail(refusalStatus(error))
            const failure = new HookFailure({ hook: name, cause })
            return Effect.andThen(tell(failure), Effect.fail(failureStatus(name)))
          })
        ), { discard: true }).pipe(
          Effect.match({ onSuccess: () => undefined, onFailure: (status) => status })
        )

    const message = (batch: FrameBatch, encoding: string | undefined): Effect.Effect<Uint8Array, GrpcStatus> => {
      const [bytes = new Uint8Array()] = payloads(batch)
      return batch[0] === 0 ? Effect.succeed(bytes) : decompress(bytes, encoding)
    }

    const decide = (
      batch: FrameBatch,
      encoding: string | undefined,
      decided: (refusal: GrpcStatus | undefined) => void
    ): () => void => {
      const asking = message(batch, encoding).pipe(
        Effect.flatMap((bytes) => ask(decodePredictRequest(bytes))),
        Effect.catch((status) => Effect.succeed(status)),
        Effect.map(decided)
      )
      const fiber = track(run(asking))
      return () => fiber.interruptUnsafe()
    }

    return InferenceProxy.of({ ...proxy, predict: (call) => proxy.predict(new AdmittedCall(call, decide)) })
  })
)
