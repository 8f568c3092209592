import { Effect } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import type { FrameBatch, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import type { Decompress } from "../wire/decompress.ts"
import { concat, frame, lengthAt, payloads, PREFIX_BYTES } from "../wire/frames.ts"
import { answer, type Handled } from "./answer.ts"
import type { OwnCalls } from "./ownCalls.ts"

/** What the handlers of the sidecar's own methods share. */
export interface UnaryOptions {
  /** The largest request: those of our own methods are small. Also that of a compressed one, opened. */
  readonly maxMessageBytes: number
  readonly decompress: Decompress
  readonly calls: OwnCalls
  readonly handled: Handled
}

/** How the one request of a call is read. */
export type RequestOptions = Omit<UnaryOptions, "handled">

/** gRPC's statuscodes.md: a method with one request that gets another number of them is UNIMPLEMENTED. */
const cardinality = (got: string): GrpcStatus =>
  Status.make(Status.Code.UNIMPLEMENTED, `This method takes exactly one request message, got ${got}`)

const tooLarge = (limit: number): GrpcStatus =>
  Status.make(Status.Code.RESOURCE_EXHAUSTED, `A request message exceeds the limit of ${limit} bytes`, {
    "cy-reason": "message_too_large"
  })

/** All that a caller sends until its half-close; gives up as soon as it is too much. */
const collect = (call: ServerCall, maxMessageBytes: number): Effect.Effect<FrameBatch, GrpcStatus> => {
  const parts: Array<FrameBatch> = []
  let bytes = 0
  const next: Effect.Effect<FrameBatch, GrpcStatus> = Effect.suspend(() =>
    Effect.matchEffect(call.requests, {
      onSuccess: ([batch]) => {
        parts.push(batch)
        bytes += batch.length
        return bytes > maxMessageBytes + PREFIX_BYTES ? Effect.fail(tooLarge(maxMessageBytes)) : next
      },
      onFailure: () => parts.length === 0 ? Effect.fail(cardinality("none")) : Effect.succeed(concat(parts))
    })
  )
  return next
}

/**
 * The one request message of a call, decompressed. Fails with
 * the status the caller gets: UNIMPLEMENTED for no message or several, RESOURCE_EXHAUSTED over the limit, CANCELLED when
 * it does not come in time.
 */
export const oneRequest = (call: ServerCall, options: RequestOptions): Effect.Effect<Uint8Array, GrpcStatus> =>
  collect(call, options.maxMessageBytes).pipe(
    options.calls.inTime,
    Effect.flatMap((batch) => {
      const [message] = payloads(batch)
      if (message === undefined) return Effect.fail(cardinality("none"))
      if (PREFIX_BYTES + lengthAt(batch, 0) < batch.length) return Effect.fail(cardinality("several"))
      return batch[0] === 0 ? Effect.succeed(message) : options.decompress(message, call.encoding)
    })
  )

/** A handler for a method with one request and one response, from bytes to bytes. It may fail with a status. */
export const unary = (
  options: UnaryOptions,
  respond: (request: Uint8Array, call: ServerCall) => Effect.Effect<Uint8Array, GrpcStatus>
): CallHandler =>
(call) =>
  answer(
    call,
    options.handled,
    options.calls.counted(
      call,
      oneRequest(call, options).pipe(
        Effect.flatMap((request) => respond(request, call)),
        Effect.map((response) => {
          call.write(frame(response))
          return Status.ok
        })
      )
    )
  )
