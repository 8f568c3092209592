import { Effect } from "effect"
import type { FrameBatch, FrameTaker, Waypoint } from "../../services/Wire.ts"

type Next<E> = Effect.Effect<readonly [FrameBatch], E>
/** How the fiber goes on whose taker takes no more. */
type WhenFull<E> = (over: Effect.Effect<void, E>) => void

/**
 * The edge between a wire that calls back and a fiber that pulls: whoever waits in {@link pull} goes on in the turn in which
 * a batch comes. What nobody waits for is kept, and the wire is told to read no further.
 */
export abstract class FrameInbox<E> {
  /** Who takes batches as they come; both or none. */
  #taker: FrameTaker | undefined
  #whenFull: WhenFull<E> | undefined
  #kept: Array<FrameBatch> | undefined
  #end: Effect.Effect<never, E> | undefined
  #waiter: ((next: Next<E>) => void) | undefined
  /** The wire was told to read no further, or has not begun. */
  #paused = true

  /** Tells the wire to read on. */
  protected abstract readOn(): void

  /** A batch has come. `false`: read no further until {@link readOn}. */
  protected arrive(batch: FrameBatch): boolean {
    const taker = this.#taker
    if (taker !== undefined) {
      if (this.#taken(taker, batch, this.#whenFull)) return true
      // It may have come back for more by now.
      return !this.#paused
    }
    const waiter = this.#waiter
    if (waiter === undefined) {
      if (this.#kept === undefined) this.#kept = [batch]
      else this.#kept.push(batch)
    } else {
      this.#waiter = undefined
      waiter(Effect.succeed([batch]))
    }
    // Who has gone on may wait for more already, in the one way or the other.
    this.#paused = this.#waiter === undefined && this.#taker === undefined
    return !this.#paused
  }

  /** Nothing more will come: the end is pulled behind what is kept. */
  protected close(end: Effect.Effect<never, E>): void {
    this.#end ??= end
    const whenFull = this.#whenFull
    this.#dismiss()
    whenFull?.(this.#end)
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

  /** See `Waypoint`: whoever takes them. */
  get ahead(): Waypoint | undefined {
    return this.#taker
  }

  /** Somebody takes batches as they come. */
  protected get hasTaker(): boolean {
    return this.#taker !== undefined
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

  /** The next batch, or the end. */
  protected get pull(): Effect.Effect<readonly [FrameBatch], E> {
    return Effect.callback((resume) => {
      const kept = this.#kept?.shift()
      if (kept !== undefined) return resume(Effect.succeed([kept]))
      if (this.#end !== undefined) return resume(this.#end)
      this.#waiter = resume
      this.want()
    })
  }

  /** See `WorkerCall.takeWhile`. */
  takeWhile(taker: FrameTaker): Effect.Effect<void, E> {
    return Effect.callback((resume) => {
      for (let kept = this.#kept?.shift(); kept !== undefined; kept = this.#kept?.shift()) {
        if (!this.#taken(taker, kept, resume)) return
      }
      if (this.#end !== undefined) return resume(this.#end)
      this.#taker = taker
      this.#whenFull = resume
      this.want()
      return Effect.sync(() => {
        if (this.#whenFull !== resume) return
        this.#dismiss()
        this.#paused = true
      })
    })
  }

  /** Hands a batch over. A fault in the taker's step is the fault of its fiber, and not of the wire. */
  #taken(taker: FrameTaker, batch: FrameBatch, whenFull: WhenFull<E> | undefined): boolean {
    let over: Effect.Effect<void, E> = Effect.void
    try {
      if (taker.take(batch)) return true
    } catch (defect) {
      over = Effect.die(defect)
    }
    this.#dismiss()
    this.#paused = true
    whenFull?.(over)
    return false
  }

  #dismiss(): void {
    this.#taker = undefined
    this.#whenFull = undefined
  }
}
