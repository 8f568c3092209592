/** Something that takes part in a {@link FairBound}. */
export interface Entrant {
  /** Who takes the place: the address of a connection. */
  readonly peer: string
  /** It has to make room for another; called once, and it has left by then. */
  evict(): void
}

/**
 * So many at once, of all peers together. When there is no room, the peer that has most gives up its oldest: who takes
 * all the room keeps nobody out but himself.
 */
export class FairBound {
  readonly #limit: () => number
  readonly #onSize: (size: number) => void
  readonly #byPeer = new Map<string, Set<Entrant>>()
  #size = 0

  /** `onSize`: told whenever their number changes. */
  constructor(limit: () => number, onSize: (size: number) => void) {
    this.#limit = limit
    this.#onSize = onSize
  }

  get size(): number {
    return this.#size
  }

  /** Takes one in. `true`: another had to go for it. */
  enter(entrant: Entrant): boolean {
    const full = this.#size >= this.#limit()
    const oldest = full ? this.#oldestOfBusiest() : undefined
    if (oldest !== undefined) {
      this.leave(oldest)
      oldest.evict()
    }
    const mine = this.#byPeer.get(entrant.peer)
    if (mine === undefined) this.#byPeer.set(entrant.peer, new Set([entrant]))
    else mine.add(entrant)
    this.#onSize(++this.#size)
    return full
  }

  /** `false`: it was not in. */
  leave(entrant: Entrant): boolean {
    const mine = this.#byPeer.get(entrant.peer)
    if (mine?.delete(entrant) !== true) return false
    if (mine.size === 0) this.#byPeer.delete(entrant.peer)
    this.#onSize(--this.#size)
    return true
  }

  #oldestOfBusiest(): Entrant | undefined {
    let most: Set<Entrant> | undefined
    for (const entrants of this.#byPeer.values()) {
      if (most === undefined || entrants.size > most.size) most = entrants
    }
    return most?.values().next().value
  }
}
