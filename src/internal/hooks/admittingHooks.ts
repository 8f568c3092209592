import { Cause, Effect, Option } from "effect"
import type { PredictRequest } from "../../services/LlmClient.ts"
import * as Status from "../../services/Status.ts"
import * as E from "../../services/StreamError.ts"
import { type Admit, type StreamHook, StreamHooks, type StreamRefusal } from "../../services/StreamHooks.ts"
import type { FrameBatch, Status as GrpcStatus } from "../../services/Wire.ts"
import { decodePredictRequest } from "../inProcess/predictMessages.ts"
import { makeDecompress, OWN_LIMITS } from "../wire/decompress.ts"
import { payloads } from "../wire/frames.ts"
import { failureStatus, HookFailure, makeTeller } from "./hookFailure.ts"

/** A hook has so long to admit a stream, and never longer than a request may take to come. Milliseconds. */
const MOST_PATIENCE = 10_000

const refusalStatus = ({ code, message, reason, retryAfterMillis }: StreamRefusal): GrpcStatus =>
  Status.make(code ?? Status.Code.RESOURCE_EXHAUSTED, message, {
    "cy-reason": reason,
    ...(retryAfterMillis === undefined ? {} : { "grpc-retry-pushback-ms": String(retryAfterMillis) })
  })

/**
 * Asks the hooks' `admit` before a stream counts; `undefined`: there is no such hook, and nothing is decoded.
 *
 * `requestSecs`: `[server] first_message_timeout_secs`, as it is at the time.
 */
export const admittingHooks = (requestSecs: () => number): Effect.Effect<Admit | undefined> =>
  Effect.gen(function*() {
    const hooks = Option.getOrElse(yield* Effect.serviceOption(StreamHooks), (): ReadonlyArray<StreamHook> => [])
    const admitting = hooks.flatMap(({ admit, name }) => admit === undefined ? [] : [{ admit, name }])
    if (admitting.length === 0) return undefined
    const tell = makeTeller()
    const decompress = makeDecompress(OWN_LIMITS)

    const ask = (request: PredictRequest): Effect.Effect<void, E.StreamError> =>
      Effect.forEach(admitting, ({ admit, name }) =>
        Effect.suspend(() => admit(request)).pipe(
          Effect.timeout(Math.min(MOST_PATIENCE, requestSecs() * 900)),
          Effect.catchCause((cause) => {
            const error = cause.reasons.find(Cause.isFailReason)?.error
            if (error?._tag === "StreamRefusal") {
              return Effect.fail<E.StreamError>(new E.NotAdmitted({ status: refusalStatus(error) }))
            }
            const failure = new HookFailure({ hook: name, part: "admit", cause })
            return Effect.andThen(tell(failure), Effect.fail(new E.WorkerStatus({ status: failureStatus(name) })))
          })
        ), { discard: true })

    const message = (batch: FrameBatch, encoding: string | undefined): Effect.Effect<Uint8Array, E.StreamError> => {
      const [bytes = new Uint8Array()] = payloads(batch)
      return batch[0] === 0
        ? Effect.succeed(bytes)
        : Effect.mapError(decompress(bytes, encoding), (status) => new E.WorkerStatus({ status }))
    }
    return (batch, encoding) => Effect.flatMap(message(batch, encoding), (bytes) => ask(decodePredictRequest(bytes)))
  })
