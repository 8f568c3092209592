import { Cause, Effect } from "effect"
import type { StreamError } from "../../services/StreamError.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { FrameInbox } from "./frameInbox.ts"

/** A gateway's call: its requests to be pulled, its room to be waited for, its departure to be told once. */
export abstract class PulledRequests extends FrameInbox<Cause.Done> {
  #begun = false
  #full = false
  #whenWritable: ((effect: Effect.Effect<void>) => void) | undefined
  #left: StreamError | undefined
  #onLeave: ((why: StreamError) => void) | undefined

  get requests(): Effect.Effect<readonly [FrameBatch], Cause.Done> {
    return this.pull
  }

  ready(): boolean {
    this.want()
    return this.hasNext
  }

  get isHalfClosed(): boolean {
    return this.isDrained
  }

  get writable(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (!this.#full) return resume(Effect.void)
      this.#whenWritable = resume
    })
  }

  /** Called when the gateway has left: with that its handler is to be interrupted. */
  onLeave(callback: (why: StreamError) => void): void {
    this.#onLeave = callback
    if (this.#left !== undefined) callback(this.#left)
  }

  /** {@link arrive}, and the wire reads behind the first one, too: nearly always that is the half-close, and all there is. */
  protected request(batch: FrameBatch): boolean {
    const first = !this.#begun
    this.#begun = true
    return this.arrive(batch) || first
  }

  protected halfClosed(): void {
    this.close(Cause.done())
  }

  /** What `write` answers: whether there is room for more. */
  protected wrote(room: boolean): boolean {
    if (!room) this.#full = true
    return room
  }

  /** There is room again. */
  protected drained(): void {
    this.#full = false
    const tell = this.#whenWritable
    this.#whenWritable = undefined
    tell?.(Effect.void)
  }

  /** The gateway has left. */
  protected left(why: StreamError): void {
    if (this.#left !== undefined) return
    this.#left = why
    this.#onLeave?.(why)
  }

  protected get hasLeft(): boolean {
    return this.#left !== undefined
  }
}
