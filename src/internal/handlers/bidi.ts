import { Effect } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import { FrameTooLarge } from "../../services/StreamError.ts"
import type { FrameBatch, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { frame, payloads, PREFIX_BYTES } from "../wire/frames.ts"
import { statusOf } from "../wire/streamStatus.ts"
import { answer } from "./answer.ts"
import type { UnaryOptions } from "./unary.ts"

/** A message as it came, with the answer to whether it is compressed. */
interface Message {
  readonly bytes: Uint8Array
  readonly compressed: boolean
}

const messagesOf = (batch: FrameBatch): ReadonlyArray<Message> => {
  let at = 0
  return payloads(batch).map((bytes) => {
    const compressed = batch[at] !== 0
    at += PREFIX_BYTES + bytes.length
    return { bytes, compressed }
  })
}

/**
 * A handler for a method that answers each of a stream's requests with one response, in order. It reads no further
 * while an answer is on its way or the caller does not read; it ends OK at the caller's half-close, and CANCELLED when
 * the caller sends no request, or reads no answer, for too long.
 */
export const bidi = (
  options: UnaryOptions,
  respond: (request: Uint8Array) => Effect.Effect<Uint8Array, GrpcStatus>
): CallHandler =>
(call: ServerCall) => {
  const answerOne = ({ bytes, compressed }: Message): Effect.Effect<void, GrpcStatus> =>
    Effect.gen(function*() {
      // Other calls have their turn between two of the thousands of requests that one batch can hold.
      yield* Effect.yieldNow
      const request = compressed ? yield* options.decompress(bytes, call.encoding) : bytes
      if (request.length > options.maxMessageBytes) {
        return yield* Effect.fail(statusOf(
          new FrameTooLarge({ side: "request", bytes: request.length, limit: options.maxMessageBytes })
        ))
      }
      const response = yield* respond(request)
      if (!call.write(frame(response))) yield* options.calls.whileRead(call.writable)
    })
  const next = Effect.match(Effect.suspend(() => call.requests), {
    onSuccess: ([batch]) => batch,
    onFailure: () => undefined
  })
  const serve = Effect.gen(function*() {
    while (true) {
      const batch = yield* options.calls.inTime(next)
      if (batch === undefined) return Status.ok
      for (const message of messagesOf(batch)) yield* answerOne(message)
    }
  })
  return answer(call, options.handled, options.calls.counted(call, serve))
}
