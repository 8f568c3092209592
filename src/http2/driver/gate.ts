/** How many sockets a server takes. */
export interface GateLimits {
  readonly maxConnections: number
  /** Of one address; a Unix socket's peers have none and are not counted. */
  readonly maxPerAddress: number
}

/** Which limit an arrival met. */
export type GateLimit = "connections" | "address_connections"

/** A socket that was let in. */
export class Visitor {
  readonly address: string | undefined
  /** Asks it to go; {@link Gate.left} when it has gone. */
  dismiss: () => void
  /** Told to go: it is counted no more. */
  leaving = false

  constructor(address: string | undefined, dismiss: () => void) {
    this.address = address
    this.dismiss = dismiss
  }
}

/**
 * Sockets beyond the limit that are let in while idle ones, which were told to go, are on their way out. When these do not
 * leave as fast as others come, the others wait outside.
 */
const LEEWAY = 64

/**
 * Counts sockets from the moment they are accepted, those in a TLS handshake or without a word included. When it is full,
 * the one that has been idle longest makes room; when none is idle, the one that comes is turned away. One address has
 * its share, so that whoever takes it all is the first to give it back.
 */
export class Gate {
  readonly #limits: GateLimits
  readonly #onLimit: (limit: GateLimit, address: string | undefined) => void
  readonly #visitors = new Set<Visitor>()
  /** Longest idle first. */
  readonly #idle = new Set<Visitor>()
  readonly #byAddress = new Map<string, number>()
  #leaving = 0

  constructor(limits: GateLimits, onLimit: (limit: GateLimit, address: string | undefined) => void) {
    this.#limits = limits
    this.#onLimit = onLimit
  }

  /** Sockets that are open. */
  get size(): number {
    return this.#visitors.size
  }

  /** Whether one more may come from this address; if so, {@link Gate.enter} it. */
  admits(address: string | undefined): boolean {
    const { maxConnections, maxPerAddress } = this.#limits
    if (address !== undefined && this.#of(address) >= maxPerAddress) {
      this.#onLimit("address_connections", address)
      return this.#makeRoom(address)
    }
    if (this.#visitors.size - this.#leaving >= maxConnections) {
      this.#onLimit("connections", address)
      return this.#makeRoom(undefined)
    }
    return true
  }

  /** It is in, and idle. */
  enter(visitor: Visitor): void {
    this.#visitors.add(visitor)
    this.#idle.add(visitor)
    if (visitor.address !== undefined) this.#byAddress.set(visitor.address, this.#of(visitor.address) + 1)
  }

  /** It has something to do, or nothing any more. */
  busy(visitor: Visitor, busy: boolean): void {
    if (busy) this.#idle.delete(visitor)
    else if (!visitor.leaving && this.#visitors.has(visitor)) this.#idle.add(visitor)
  }

  /** It has gone. */
  left(visitor: Visitor): void {
    if (!this.#visitors.delete(visitor)) return
    this.#idle.delete(visitor)
    if (visitor.leaving) this.#leaving--
    else this.#forget(visitor)
  }

  /** The longest idle one is told to go, and is counted no more. */
  #makeRoom(address: string | undefined): boolean {
    if (this.#leaving >= LEEWAY) return false
    for (const visitor of this.#idle) {
      if (address !== undefined && visitor.address !== address) continue
      this.#idle.delete(visitor)
      visitor.leaving = true
      this.#leaving++
      this.#forget(visitor)
      visitor.dismiss()
      return true
    }
    return false
  }

  #of(address: string): number {
    return this.#byAddress.get(address) ?? 0
  }

  #forget(visitor: Visitor): void {
    if (visitor.address === undefined) return
    const count = this.#of(visitor.address) - 1
    if (count > 0) this.#byAddress.set(visitor.address, count)
    else this.#byAddress.delete(visitor.address)
  }
}
