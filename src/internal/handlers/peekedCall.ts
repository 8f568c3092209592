import { Effect } from "effect"
import type { FrameBatch, Metadata, RequestListener, ServerCall, Status } from "../../services/Wire.ts"
import { FirstMessage } from "../stream/firstMessage.ts"

/** A call whose first message was looked at, and which can still be started as if nothing had happened. */
export interface Peeked {
  /** The first message without its prefix; `undefined` when the caller half-closed without one. */
  readonly message: Uint8Array | undefined
  readonly compressed: boolean
  readonly call: ServerCall
}

/** The call again, begun by {@link FirstMessage}. */
class PeekedCall implements ServerCall {
  readonly #call: ServerCall
  readonly #requests: FirstMessage

  constructor(call: ServerCall, requests: FirstMessage) {
    this.#call = call
    this.#requests = requests
  }

  start(listener: RequestListener): void {
    this.#requests.handOver(listener)
  }

  get path(): string {
    return this.#call.path
  }
  get metadata(): Metadata {
    return this.#call.metadata
  }
  get timeoutMillis(): number | undefined {
    return this.#call.timeoutMillis
  }
  get arrivedAt(): number {
    return this.#call.arrivedAt
  }
  get encoding(): string | undefined {
    return this.#call.encoding
  }
  get peer(): ServerCall["peer"] {
    return this.#call.peer
  }
  get takesSingleFrames(): boolean | undefined {
    return this.#call.takesSingleFrames
  }
  get pendingBytes(): number {
    return this.#call.pendingBytes
  }
  resume(): void {
    this.#requests.resume()
  }
  sendHeaders(metadata: Metadata, encoding?: string): void {
    this.#call.sendHeaders(metadata, encoding)
  }
  write(batch: FrameBatch): boolean {
    return this.#call.write(batch)
  }
  end(status: Status, delivery?: "flush" | "now"): void {
    this.#call.end(status, delivery)
  }
}

/** Waits for the first message of a call (or its half-close) and gives the call back, unread. */
export const peekFirst = (call: ServerCall): Effect.Effect<Peeked> =>
  Effect.callback<Peeked>((resume) => {
    const requests: FirstMessage = new FirstMessage(call, {
      onFirst: () => {
        const { compressed, message } = requests
        resume(Effect.succeed({ message, compressed, call: new PeekedCall(call, requests) }))
      }
    })
    requests.begin()
  })
