import { type Cause, Effect, Latch, Queue, Stream } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import type { FrameBatch, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { decompress } from "../wire/decompress.ts"
import { frame, payloads, PREFIX_BYTES } from "../wire/frames.ts"
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
 * while an answer is on its way or the caller does not read; it ends OK at the caller's half-close.
 */
export const bidi = (
  options: UnaryOptions,
  respond: (request: Uint8Array) => Effect.Effect<Uint8Array, GrpcStatus>
): CallHandler =>
(call: ServerCall) =>
  answer(
    call,
    options.handled,
    Effect.gen(function*() {
      const batches = yield* Queue.unbounded<FrameBatch, Cause.Done>()
      const writable = yield* Latch.make(true)
      call.start({
        onFrames: (batch) => {
          Queue.offerUnsafe(batches, batch)
          return false
        },
        onHalfClose: () => void Queue.endUnsafe(batches),
        onDrain: () => void writable.openUnsafe(),
        onDeparture: () => {}
      })
      yield* Stream.runForEach(Stream.fromQueue(batches), (batch) =>
        Effect.gen(function*() {
          // Not from within `onFrames`: `resume` must come after its `false`.
          yield* Effect.yieldNow
          for (const { bytes, compressed } of messagesOf(batch)) {
            const request = compressed ? yield* decompress(bytes, call.encoding, options.maxMessageBytes) : bytes
            const response = yield* respond(request)
            if (!call.write(frame(response))) writable.closeUnsafe()
            yield* writable.await
          }
          call.resume()
        }))
      return Status.ok
    })
  )
