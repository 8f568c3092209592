import type { Settings } from "../../services/SidecarConfig.ts"
import type { Watchdog, Watched } from "./watchdog.ts"

/** A stream that waits for a worker. */
export interface Waiting {
  /** Bytes of requests that are kept meanwhile. */
  readonly heldBytes: number
  /** The worker is there, and it is this stream's turn. */
  release(): void
}

/**
 * Slow start: so many streams are let go first, after each pause a quarter more. A fixed pace would never empty the room
 * when streams arrive faster, since nobody overtakes those that wait.
 */
const FIRST_RELEASE = 8
const RELEASE_GROWTH = 1.25
const RELEASE_PAUSE_MILLIS = 20

/** Limits and ties of a waiting room. */
export interface WaitingRoomOptions {
  readonly limits: Pick<Settings["reload"], "max_held_streams" | "max_held_bytes">
  readonly watchdog: Watchdog
  /** Tells how many wait, whenever that changes. */
  readonly onSize: (size: number) => void
  /** A worker takes streams now. */
  readonly isOpen: () => boolean
}

/**
 * Streams that are held: first in, first out, bounded in number and bytes. They are let go a few at a time, so that a
 * worker that has just come back is not run over.
 */
export class WaitingRoom implements Watched {
  watchPlace = -1
  readonly #options: WaitingRoomOptions
  readonly #waiting = new Set<Waiting>()
  /** Those of them that nobody may overtake. */
  readonly #inOrder = new Set<Waiting>()
  #bytes = 0
  #releaseAt = Number.POSITIVE_INFINITY
  #atOnce = FIRST_RELEASE

  constructor(options: WaitingRoomOptions) {
    this.#options = options
    options.watchdog.add(this)
  }

  get size(): number {
    return this.#waiting.size
  }

  /** One more stream would be refused. */
  get isFull(): boolean {
    const { max_held_bytes, max_held_streams } = this.#options.limits
    return this.#waiting.size >= max_held_streams || this.#bytes >= max_held_bytes
  }

  /** New streams have to wait behind those that wait. */
  get keepsOrder(): boolean {
    return this.#inOrder.size > 0
  }

  /**
   * Takes a stream in; `"after a pause"`: it is here to be sent again, while others may go on. `false` when there is no
   * place for it.
   */
  enter(stream: Waiting, release: "at once" | "after a pause" = "at once"): boolean {
    const { max_held_bytes, max_held_streams } = this.#options.limits
    if (this.#waiting.size >= max_held_streams || this.#bytes + stream.heldBytes > max_held_bytes) return false
    this.#waiting.add(stream)
    if (release === "at once") this.#inOrder.add(stream)
    this.#bytes += stream.heldBytes
    this.#options.onSize(this.#waiting.size)
    if (this.#options.isOpen()) this.open(release)
    return true
  }

  /** A waiting stream has kept more. `false` when that is too much for all of them. */
  grow(bytes: number): boolean {
    if (this.#bytes + bytes > this.#options.limits.max_held_bytes) return false
    this.#bytes += bytes
    return true
  }

  /** The stream waits no more. */
  leave(stream: Waiting): void {
    if (!this.#waiting.delete(stream)) return
    this.#inOrder.delete(stream)
    this.#bytes -= stream.heldBytes
    this.#options.onSize(this.#waiting.size)
  }

  /** A worker has come: begins to let streams go. */
  open(release: "at once" | "after a pause" = "at once"): void {
    if (this.#waiting.size === 0 || this.#releaseAt !== Number.POSITIVE_INFINITY) return
    this.#releaseAt = this.#options.watchdog.now() + (release === "at once" ? 0 : RELEASE_PAUSE_MILLIS)
    this.#options.watchdog.nearer(this.#releaseAt)
  }

  dueAt(): number {
    return this.#releaseAt
  }

  due(now: number): void {
    this.#releaseAt = Number.POSITIVE_INFINITY
    for (const stream of this.#first(this.#atOnce)) {
      if (!this.#options.isOpen()) break
      if (!this.#waiting.has(stream)) continue
      this.leave(stream)
      stream.release()
    }
    const goesOn = this.#waiting.size > 0 && this.#options.isOpen()
    this.#atOnce = goesOn ? Math.ceil(this.#atOnce * RELEASE_GROWTH) : FIRST_RELEASE
    if (goesOn) this.#releaseAt = now + RELEASE_PAUSE_MILLIS
  }

  /** Whose turn it is. One that is refused at once, and comes back meanwhile, waits for the next time. */
  #first(count: number): ReadonlyArray<Waiting> {
    const first: Array<Waiting> = []
    for (const stream of this.#waiting) {
      if (first.length === count) break
      first.push(stream)
    }
    return first
  }
}
