import { Effect } from "effect"
import type { FrameBatch, ServerCall } from "../../services/Wire.ts"
import { payloads } from "../wire/frames.ts"
import { ForwardedCall } from "./forwardedCall.ts"

/** A call whose first message was looked at, and which can still be started as if nothing had happened. */
export interface Peeked {
  /** The first message without its prefix; `undefined` when the caller half-closed without one. */
  readonly message: Uint8Array | undefined
  readonly compressed: boolean
  readonly call: ServerCall
}

/** The call again, with what was pulled of its requests before the rest. */
class PeekedCall extends ForwardedCall {
  #first: FrameBatch | undefined

  constructor(call: ServerCall, first: FrameBatch | undefined) {
    super(call)
    this.#first = first
  }

  override get requests(): ServerCall["requests"] {
    return Effect.suspend(() => {
      const first = this.#first
      this.#first = undefined
      return first === undefined ? this.call.requests : Effect.succeed([first] as const)
    })
  }
  override ready(): boolean {
    return this.#first !== undefined || this.call.ready()
  }
  override get isHalfClosed(): boolean {
    return this.#first === undefined && this.call.isHalfClosed
  }
}

/** Waits for the first message of a call (or its half-close) and gives the call back, unread. */
export const peekFirst = (call: ServerCall): Effect.Effect<Peeked> => {
  const peeked = (first: FrameBatch | undefined): Peeked => ({
    message: first === undefined ? undefined : payloads(first)[0],
    compressed: first !== undefined && first[0] !== 0,
    call: new PeekedCall(call, first)
  })
  return Effect.match(call.requests, { onSuccess: ([first]) => peeked(first), onFailure: () => peeked(undefined) })
}
