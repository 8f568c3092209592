import { Effect } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import * as Status from "../../services/Status.ts"
import type { FrameBatch, RequestListener, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
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
export interface RequestOptions extends Omit<UnaryOptions, "handled"> {
  /** For calls that go on to stream: the reply side takes frames again. */
  readonly onDrain?: (() => void) | undefined
}

/** gRPC's statuscodes.md: a method with one request that gets another number of them is UNIMPLEMENTED. */
const cardinality = (got: string): GrpcStatus =>
  Status.make(Status.Code.UNIMPLEMENTED, `This method takes exactly one request message, got ${got}`)

const tooLarge = (limit: number): GrpcStatus =>
  Status.make(Status.Code.RESOURCE_EXHAUSTED, `A request message exceeds the limit of ${limit} bytes`, {
    "cy-reason": "message_too_large"
  })

/** Collects frames until the half-close; gives up as soon as there are too many bytes. */
class Collector implements RequestListener {
  readonly #limit: number
  readonly #onDrain: () => void
  readonly #settle: (result: FrameBatch | GrpcStatus) => void
  #parts: Array<FrameBatch> = []
  #bytes = 0
  #settled = false

  constructor(options: RequestOptions, settle: (result: FrameBatch | GrpcStatus) => void) {
    this.#limit = options.maxMessageBytes + PREFIX_BYTES
    this.#onDrain = options.onDrain ?? (() => {})
    this.#settle = settle
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.#settled) return true
    this.#bytes += batch.length
    this.#parts.push(batch)
    if (this.#bytes > this.#limit) this.#finish(tooLarge(this.#limit - PREFIX_BYTES))
    return true
  }

  onHalfClose(): void {
    this.#finish(this.#parts.length === 0 ? cardinality("none") : concat(this.#parts))
  }

  onDrain(): void {
    this.#onDrain()
  }

  /** The server interrupts the handler. */
  onDeparture(): void {
    this.#settled = true
  }

  #finish(result: FrameBatch | GrpcStatus): void {
    if (this.#settled) return
    this.#settled = true
    this.#parts = []
    this.#settle(result)
  }
}

/**
 * The one request message of a call, decompressed. Attaches the call's listener, so it can be asked for once. Fails with
 * the status the caller gets: UNIMPLEMENTED for no message or several, RESOURCE_EXHAUSTED over the limit, CANCELLED when
 * it does not come in time.
 */
export const oneRequest = (call: ServerCall, options: RequestOptions): Effect.Effect<Uint8Array, GrpcStatus> =>
  Effect.callback<FrameBatch, GrpcStatus>((resume) => {
    call.start(
      new Collector(
        options,
        (result) => resume(result instanceof Uint8Array ? Effect.succeed(result) : Effect.fail(result))
      )
    )
  }).pipe(
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
