import { Effect, Latch } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import { FrameTooLarge } from "../../services/StreamError.ts"
import type { FrameBatch, RequestListener, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
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

/** What comes from the caller, one batch at a time. `undefined`: it has half-closed. */
class Requests implements RequestListener {
  readonly #came = Latch.makeUnsafe(false)
  readonly writable = Latch.makeUnsafe(true)
  #batches: Array<FrameBatch> = []
  #ended = false

  onFrames(batch: FrameBatch): boolean {
    this.#batches.push(batch)
    this.#came.openUnsafe()
    return false
  }

  onHalfClose(): void {
    this.#ended = true
    this.#came.openUnsafe()
  }

  onDrain(): void {
    this.writable.openUnsafe()
  }

  /** The server interrupts the handler. */
  onDeparture(): void {}

  readonly next: Effect.Effect<FrameBatch | undefined> = Effect.suspend(() => {
    const batch = this.#batches.shift()
    if (batch !== undefined || this.#ended) return Effect.succeed(batch)
    this.#came.closeUnsafe()
    return Effect.andThen(this.#came.await, this.next)
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
  const answerOne = (requests: Requests, { bytes, compressed }: Message): Effect.Effect<void, GrpcStatus> =>
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
      if (!call.write(frame(response))) requests.writable.closeUnsafe()
      yield* options.calls.whileRead(requests.writable.await)
    })
  const serve = Effect.gen(function*() {
    const requests = new Requests()
    call.start(requests)
    while (true) {
      const batch = yield* options.calls.inTime(requests.next)
      if (batch === undefined) return Status.ok
      // Not from within `onFrames`: `resume` must come after its `false`.
      yield* Effect.yieldNow
      for (const message of messagesOf(batch)) yield* answerOne(requests, message)
      call.resume()
    }
  })
  return answer(call, options.handled, options.calls.counted(call, serve))
}
