import { Effect, Fiber } from "effect"
import { frame, payloads } from "../../src/internal/wire/frames.ts"
import { PulledRequests } from "../../src/internal/wire/pulledRequests.ts"
import type { CallHandler } from "../../src/services/GrpcServer.ts"
import type { FrameBatch, Metadata, ServerCall, Status } from "../../src/services/Wire.ts"

/** What a caller can choose of a {@link FakeCall}. */
export interface FakeCallOptions {
  readonly metadata?: Metadata
  readonly timeoutMillis?: number
  readonly encoding?: string
  readonly trusted?: boolean
  /** Default: 127.0.0.1:1. */
  readonly peer?: string
  /** Writes after which the reply side is full; each {@link FakeCall.read} takes one. Default: never full. */
  readonly capacity?: number
  readonly takesSingleFrames?: boolean
}

/** A gateway's call in memory, driven and observed by a test. */
export class FakeCall extends PulledRequests implements ServerCall {
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt = 0
  readonly encoding: string | undefined
  readonly peer: { readonly address: string; readonly trusted: boolean }
  /** Messages written, without prefixes. */
  readonly replies: Array<Uint8Array> = []
  /** Frames written, with prefixes. */
  readonly written: Array<FrameBatch> = []
  ended: Status | undefined
  delivery: "flush" | "now" | undefined
  headers: Metadata | undefined
  /** What the headers said about the frames. */
  replyEncoding: string | undefined
  readonly takesSingleFrames: boolean
  readonly #sent: Array<() => boolean> = []
  #flowing = false
  #unread = 0
  readonly #capacity: number
  readonly #whenEnded = Promise.withResolvers<Status>()

  constructor(path: string, options: FakeCallOptions = {}) {
    super()
    this.path = path
    this.metadata = options.metadata ?? {}
    this.timeoutMillis = options.timeoutMillis
    this.encoding = options.encoding
    this.peer = { address: options.peer ?? "127.0.0.1:1", trusted: options.trusted ?? true }
    this.takesSingleFrames = options.takesSingleFrames ?? false
    this.#capacity = options.capacity ?? Number.POSITIVE_INFINITY
  }

  get whenEnded(): Promise<Status> {
    return this.#whenEnded.promise
  }

  get pendingBytes(): number {
    return 0
  }

  /** The handler takes requests now. */
  get flowing(): boolean {
    return this.#flowing
  }

  /** Sends one message. */
  send(message: Uint8Array, compressed = false): this {
    return this.sendFrames(frame(message, compressed))
  }

  sendFrames(batch: FrameBatch): this {
    this.#sent.push(() => this.request(batch))
    this.#pump()
    return this
  }

  halfClose(): this {
    this.#sent.push(() => {
      this.halfClosed()
      return true
    })
    this.#pump()
    return this
  }

  /** The gateway reads one message that was written. */
  read(): void {
    const was = this.#unread
    this.#unread = Math.max(0, was - 1)
    if (was >= this.#capacity && this.#unread < this.#capacity) this.drained()
  }

  protected readOn(): void {
    this.#flowing = true
    this.#pump()
  }

  sendHeaders(metadata: Metadata, encoding?: string): void {
    if (this.headers !== undefined) return
    this.headers = metadata
    this.replyEncoding = encoding
  }

  write(batch: FrameBatch): boolean {
    if (this.ended !== undefined) return true
    this.written.push(batch)
    this.replies.push(...payloads(batch))
    this.#unread++
    return this.wrote(this.#unread < this.#capacity)
  }

  end(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.ended !== undefined) return
    this.ended = status
    this.delivery = delivery
    this.#whenEnded.resolve(status)
  }

  #pump(): void {
    while (this.#flowing) {
      const next = this.#sent.shift()
      if (next === undefined) return
      this.#flowing = next()
    }
  }
}

/** Runs a handler for a call in the background, as a server does. */
export const serve = (handler: CallHandler, call: FakeCall): Effect.Effect<Fiber.Fiber<void>> =>
  Effect.forkDetach(handler(call), { startImmediately: true })

/** Serves a call to its end. */
export const complete = (handler: CallHandler, call: FakeCall): Effect.Effect<Status> =>
  Effect.gen(function*() {
    const fiber = yield* serve(handler, call)
    const status = yield* Effect.promise(() => call.whenEnded)
    yield* Fiber.join(fiber)
    return status
  })
