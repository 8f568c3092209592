import type { Settings } from "../../services/SidecarConfig.ts"

/** A stream that waits for a place at the worker. */
export interface Queued {
  /** Lower numbers first, as the worker's own scheduler orders them. */
  readonly priority: number
  /** A place is taken in its name. */
  admitted(): void
}

/** `max_worker_streams` 0: no cap. */
type PlaceLimits = Pick<Settings["server"], "max_worker_streams" | "max_queued_streams">

/**
 * The places at the worker (`[server] max_worker_streams`). Without a cap every stream finds one at once. A place is
 * given back when the worker's side of its stream has ended.
 */
export class PlaceQueue {
  readonly #limits: PlaceLimits
  readonly #onSize: (size: number) => void
  /** By priority, each in the order of arrival. */
  readonly #queues = new Map<number, Set<Queued>>()
  #taken = 0
  #size = 0
  /** {@link giveBack} is at work. */
  #admitting = false

  constructor(limits: PlaceLimits, onSize: (size: number) => void) {
    this.#limits = limits
    this.#onSize = onSize
  }

  get #places(): number {
    const { max_worker_streams } = this.#limits
    return max_worker_streams === 0 ? Number.POSITIVE_INFINITY : max_worker_streams
  }

  get size(): number {
    return this.#size
  }

  /** One more stream would be refused. */
  get isFull(): boolean {
    return (this.#taken >= this.#places || this.#size > 0) && this.#size >= this.#limits.max_queued_streams
  }

  /** A place at once, if one is free and nobody waits. */
  tryTake(): boolean {
    if (this.#taken >= this.#places || this.#size > 0) return false
    this.#taken++
    return true
  }

  /** Waits for a place; `false` when too many wait already. */
  enter(stream: Queued): boolean {
    if (this.#size >= this.#limits.max_queued_streams) return false
    const queue = this.#queues.get(stream.priority)
    if (queue === undefined) this.#queues.set(stream.priority, new Set([stream]))
    else queue.add(stream)
    this.#size++
    this.#onSize(this.#size)
    return true
  }

  /** Waits no more, without a place. */
  leave(stream: Queued): void {
    const queue = this.#queues.get(stream.priority)
    if (queue?.delete(stream) !== true) return
    if (queue.size === 0) this.#queues.delete(stream.priority)
    this.#size--
    this.#onSize(this.#size)
  }

  /**
   * A place is free again. Whoever is admitted may give it back at once, when there is no worker any more: then the next
   * one has its turn after that, not within it, so that a long queue keeps its order.
   */
  giveBack(): void {
    this.#taken--
    this.admit()
  }

  /** Lets in whoever has a place now: one was given back, or there are more of them. */
  admit(): void {
    if (this.#admitting) return
    this.#admitting = true
    while (this.#taken < this.#places) {
      const next = this.#next()
      if (next === undefined) break
      this.leave(next)
      this.#taken++
      next.admitted()
    }
    this.#admitting = false
  }

  #next(): Queued | undefined {
    let best: number | undefined
    for (const priority of this.#queues.keys()) {
      if (best === undefined || priority < best) best = priority
    }
    const queue = best === undefined ? undefined : this.#queues.get(best)
    for (const stream of queue ?? []) return stream
    return undefined
  }
}
