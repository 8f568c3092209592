import type { Settings } from "../../services/SidecarConfig.ts"
import { Line, type Seat } from "../line.ts"

/** Who has a place, or wants one. */
export interface Owner {
  /** "" when nobody has said; stays the same. */
  readonly tenant: string
}

/** A stream that waits for a place at the worker. */
export interface Queued extends Owner {
  /** While it waits; the queue's to write. */
  seat: Seat<Queued> | undefined
  /** Lower numbers first, as the worker's own scheduler orders them. */
  readonly priority: number
  /** A place is taken in its name. */
  admitted(): void
}

/** `max_worker_streams` 0: no cap. */
type PlaceLimits = Pick<Settings["server"], "max_worker_streams" | "max_queued_streams">

/** Those of one tenant, or of all where nobody asks whose a stream is. */
class Share {
  /** By priority, each in the order of arrival. */
  readonly queues = new Map<number, Line<Queued>>()
  /** Places that they have. */
  taken = 0
  waiting = 0
  /** When they were last let in, as a number that grows. */
  servedAt = 0

  /** The one whose turn it is among them. */
  next(): Queued | undefined {
    let best: number | undefined
    for (const priority of this.queues.keys()) {
      if (best === undefined || priority < best) best = priority
    }
    const queue = best === undefined ? undefined : this.queues.get(best)
    return queue?.first?.member
  }
}

/**
 * The places at the worker (`[server] max_worker_streams`). Without a cap every stream finds one at once. A place is
 * given back when the worker's side of its stream has ended.
 *
 * With `fair` (`[tenants] fair_queue`) a free place goes to the tenant that has fewest of them, among equals to the one that
 * has waited longest for its turn, and within a tenant by priority. Else by priority alone.
 */
export class PlaceQueue {
  readonly #limits: PlaceLimits
  readonly #onSize: (size: number) => void
  readonly #shares = new Map<string, Share>()
  readonly #fair: boolean
  #turns = 0
  #taken = 0
  #size = 0
  /** {@link giveBack} is at work. */
  #admitting = false

  constructor(limits: PlaceLimits, onSize: (size: number) => void, fair = false) {
    this.#fair = fair
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
  tryTake(stream: Owner): boolean {
    if (this.#taken >= this.#places || this.#size > 0) return false
    this.#take(this.#shareOf(stream))
    return true
  }

  /** Waits for a place; `false` when too many wait already. */
  enter(stream: Queued): boolean {
    if (this.#size >= this.#limits.max_queued_streams) return false
    const share = this.#shareOf(stream)
    let queue = share.queues.get(stream.priority)
    if (queue === undefined) share.queues.set(stream.priority, queue = new Line())
    stream.seat = queue.add(stream)
    share.waiting++
    this.#size++
    this.#onSize(this.#size)
    return true
  }

  /** Waits no more, without a place. */
  leave(stream: Queued): void {
    const share = this.#shareOf(stream)
    const { seat } = stream
    const queue = seat?.line
    stream.seat = undefined
    if (seat === undefined || queue?.remove(seat) !== true) return
    if (queue.size === 0) share.queues.delete(stream.priority)
    share.waiting--
    this.#size--
    this.#tidy(stream, share)
    this.#onSize(this.#size)
  }

  /**
   * A place is free again. Whoever is admitted may give it back at once, when there is no worker any more: then the next
   * one has its turn after that, not within it, so that a long queue keeps its order.
   */
  giveBack(stream: Owner): void {
    const share = this.#shareOf(stream)
    this.#taken--
    share.taken--
    this.#tidy(stream, share)
    this.admit()
  }

  /** Lets in whoever has a place now: one was given back, or there are more of them. */
  admit(): void {
    if (this.#admitting) return
    this.#admitting = true
    while (this.#taken < this.#places) {
      const share = this.#next()
      const next = share?.next()
      if (share === undefined || next === undefined) break
      this.#take(share)
      this.leave(next)
      next.admitted()
    }
    this.#admitting = false
  }

  #take(share: Share): void {
    this.#taken++
    share.taken++
    share.servedAt = ++this.#turns
  }

  #nameOf(stream: Owner): string {
    return this.#fair ? stream.tenant : ""
  }

  #shareOf(stream: Owner): Share {
    const name = this.#nameOf(stream)
    const known = this.#shares.get(name)
    if (known !== undefined) return known
    const share = new Share()
    this.#shares.set(name, share)
    return share
  }

  /** A tenant that has nothing here is forgotten. */
  #tidy(stream: Owner, share: Share): void {
    if (this.#fair && share.taken === 0 && share.waiting === 0) this.#shares.delete(this.#nameOf(stream))
  }

  /** Whose turn it is. */
  #next(): Share | undefined {
    let best: Share | undefined
    for (const share of this.#shares.values()) {
      if (share.waiting === 0) continue
      const fewer = best === undefined ? -1 : share.taken - best.taken
      if (fewer < 0 || (fewer === 0 && best !== undefined && share.servedAt < best.servedAt)) best = share
    }
    return best
  }
}
