import { Line, type Seat } from "../line.ts"

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
  readonly #byPeer = new Map<string, Line<Entrant>>()
  #size = 0

  /** `limit` is read at each entry. `onSize`: told whenever their number changes. */
  constructor(limit: () => number, onSize: (size: number) => void) {
    this.#limit = limit
    this.#onSize = onSize
  }

  get size(): number {
    return this.#size
  }

  /** Takes one in; its seat is for {@link leave}. */
  enter(entrant: Entrant): Seat<Entrant> {
    const oldest = this.#size >= this.#limit() ? this.#oldestOfBusiest() : undefined
    if (oldest !== undefined) {
      this.leave(oldest)
      oldest.member.evict()
    }
    let mine = this.#byPeer.get(entrant.peer)
    if (mine === undefined) this.#byPeer.set(entrant.peer, mine = new Line())
    const seat = mine.add(entrant)
    this.#onSize(++this.#size)
    return seat
  }

  /** `false`: it had left already. */
  leave(seat: Seat<Entrant>): boolean {
    const mine = seat.line
    if (mine?.remove(seat) !== true) return false
    if (mine.size === 0) this.#byPeer.delete(seat.member.peer)
    this.#onSize(--this.#size)
    return true
  }

  #oldestOfBusiest(): Seat<Entrant> | undefined {
    let most: Line<Entrant> | undefined
    for (const line of this.#byPeer.values()) {
      if (most === undefined || line.size > most.size) most = line
    }
    return most?.first
  }
}
