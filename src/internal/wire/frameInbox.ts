import { Effect } from "effect"
import type { FrameBatch } from "../../services/Wire.ts"

type Next<E> = Effect.Effect<readonly [FrameBatch], E>

/**
 * The edge between a wire that calls back and a fiber that pulls: whoever waits in {@link pull} goes on in the turn in which
 * a batch comes. What nobody waits for is kept, and the wire is told to read no further.
 */
export abstract class FrameInbox<E> {
  #kept: Array<FrameBatch> | undefined
  #end: Effect.Effect<never, E> | undefined
  #waiter: ((next: Next<E>) => void) | undefined
  /** The wire was told to read no further, or has not begun. */
  #paused = true

  /** Tells the wire to read on. */
  protected abstract readOn(): void

  /** A batch has come. `false`: read no further until {@link readOn}. */
  protected arrive(batch: FrameBatch): boolean {
    const waiter = this.#waiter
    if (waiter === undefined) {
      if (this.#kept === undefined) this.#kept = [batch]
      else this.#kept.push(batch)
    } else {
      this.#waiter = undefined
      waiter(Effect.succeed([batch]))
    }
    this.#paused = this.#waiter === undefined
    return !this.#paused
  }

  /** Nothing more will come: the end is pulled behind what is kept. */
  protected close(end: Effect.Effect<never, E>): void {
    this.#end ??= end
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.(this.#end)
  }

  /** Drops what is kept. */
  protected drop(): void {
    this.#kept = undefined
  }

  /** All but the end was pulled. */
  protected get isDrained(): boolean {
    return this.#end !== undefined && (this.#kept === undefined || this.#kept.length === 0)
  }

  /** Something is kept, or the end is there. */
  protected get hasNext(): boolean {
    return this.#end !== undefined || (this.#kept !== undefined && this.#kept.length > 0)
  }

  /** Somebody waits for what comes, and the wire reads. */
  protected get isWanted(): boolean {
    return !this.#paused
  }

  /** Reads on without waiting for what comes. */
  protected want(): void {
    if (!this.#paused) return
    this.#paused = false
    this.readOn()
  }

  readonly #register = (resume: (next: Next<E>) => void): void => {
    const kept = this.#kept?.shift()
    if (kept !== undefined) return resume(Effect.succeed([kept]))
    if (this.#end !== undefined) return resume(this.#end)
    this.#waiter = resume
    this.want()
  }

  /** The next batch, or the end. */
  protected readonly pull: Effect.Effect<readonly [FrameBatch], E> = Effect.callback(this.#register)
}
