import { Effect, Exit, Scope } from "effect"
import { endOfReplies } from "../../src/internal/wire/pulledCall.ts"
import type { CallEnd, CallStart, FrameBatch, Metadata, ServerCall, WorkerCall } from "../../src/services/Wire.ts"
import type { WorkerLink } from "../../src/services/WorkerChannel.ts"

/** What a test hears of a call to the worker; `onFrames` answers whether it takes more. */
export interface Replied {
  onHeaders(metadata: Metadata): void
  onFrames(batch: FrameBatch): boolean
  onEnd(end: CallEnd): void
  onDrain(): void
}

/** A call to the worker in the hands of a test, which decides by itself when to pull and when to close the scope. */
export class TestCall {
  readonly #call: WorkerCall
  readonly #scope: Scope.Closeable
  readonly #heard: Replied
  #pulling = false
  #closed = false

  constructor(call: WorkerCall, scope: Scope.Closeable, heard: Replied) {
    this.#call = call
    this.#scope = scope
    this.#heard = heard
    Effect.runFork(Effect.map(call.headers, (metadata) => {
      if (metadata !== undefined && !this.#closed) heard.onHeaders(metadata)
      this.resume()
    }))
  }

  write(batch: FrameBatch): boolean {
    const room = this.#call.write(batch)
    if (!room) Effect.runFork(Effect.map(this.#call.writable, () => this.#heard.onDrain()))
    return room
  }

  halfClose(): void {
    this.#call.halfClose()
  }

  /** Pulls on, until it has enough again. */
  resume(): void {
    if (this.#pulling || this.#closed) return
    this.#pulling = true
    const next: Effect.Effect<void> = Effect.matchEffect(this.#call.replies, {
      onSuccess: ([batch]) => {
        if (!this.#closed && this.#heard.onFrames(batch)) return next
        this.#pulling = false
        return Effect.void
      },
      onFailure: (end) =>
        Effect.sync(() => {
          if (!this.#closed) this.#heard.onEnd(endOfReplies(end))
          this.#closed = true
        })
    })
    Effect.runFork(next)
  }

  /** Closes the call's scope. */
  cancel(): void {
    this.#closed = true
    Effect.runFork(Scope.close(this.#scope, Exit.void))
  }
}

/** Opens a call on a link in a scope of its own. */
export const listenTo = (link: WorkerLink, start: CallStart, heard: Replied): TestCall => {
  const scope = Scope.makeUnsafe()
  return new TestCall(Effect.runSync(Scope.provide(link.open(start), scope)), scope, heard)
}

/** What a test hears of a gateway's call; `onFrames` answers whether it takes more. */
export interface Requested {
  onFrames(batch: FrameBatch): boolean
  onHalfClose(): void
}

/** Pulls a call's requests until the listener has enough; again when it is called again. */
export const listenToRequests = (call: ServerCall, heard: Requested): void => {
  const next: Effect.Effect<void> = Effect.matchEffect(call.requests, {
    onSuccess: ([batch]) => heard.onFrames(batch) ? next : Effect.void,
    onFailure: () => Effect.sync(() => heard.onHalfClose())
  })
  Effect.runFork(next)
}
