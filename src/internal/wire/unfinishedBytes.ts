import type { BudgetHolder, BudgetShare } from "../../services/MessageBudget.ts"

/** Bytes of one message that are never held up: many small messages are cut where a window ends. */
const FREE_BYTES = 64 * 1024

/** What is told of the budget. */
export interface UnfinishedBytesOptions {
  /** `[server] max_unfinished_bytes`. */
  readonly limit: number
  /** Tells the bytes that are held, whenever that changes. */
  readonly onBytes: (bytes: number) => void
  /** A call has to wait. */
  readonly onFull: () => void
}

interface Holding {
  readonly holder: BudgetHolder
  bytes: number
  waits: boolean
  /** How often it was looked at while it held bytes. */
  looks: number
}

/**
 * The bytes of messages that have begun and are not whole, over all calls. When the budget is used up, calls with a large
 * one stop to read, and their HTTP/2 windows hold the senders back; with one exception: the one that waits longest reads
 * on, so that one message after the other becomes whole. Who sends half a message and leaves it at that is ended when
 * others wait for room ({@link UnfinishedBytes.look}).
 */
export class UnfinishedBytes {
  readonly #options: UnfinishedBytesOptions
  readonly #holdings = new Set<Holding>()
  /** In the order in which they began to wait. */
  readonly #waiting = new Set<Holding>()
  /** It reads on although the budget is used up. */
  #ahead: Holding | undefined
  #bytes = 0

  constructor(options: UnfinishedBytesOptions) {
    this.#options = options
  }

  /** Bytes that are held. */
  get bytes(): number {
    return this.#bytes
  }

  /** Calls that wait for room. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** The share of one call. */
  share(holder: BudgetHolder): BudgetShare {
    const holding: Holding = { holder, bytes: 0, waits: false, looks: 0 }
    return {
      hold: (bytes) => this.#hold(holding, bytes),
      mayRead: () => this.#mayRead(holding)
    }
  }

  /**
   * To be called at an even pace. While the budget is used up, a large message that was there at the last `patience`
   * looks is overdue.
   */
  look(patience: number): void {
    for (const holding of this.#holdings) {
      // Those that were first end first, and no more of them than it takes.
      const full = this.#bytes > this.#options.limit
      if (++holding.looks > patience && full && holding.bytes > FREE_BYTES) holding.holder.onOverdue()
    }
  }

  #hold(holding: Holding, bytes: number): void {
    if (holding.bytes === bytes) return
    this.#bytes += bytes - holding.bytes
    holding.bytes = bytes
    if (bytes > 0) this.#holdings.add(holding)
    else this.#leave(holding)
    this.#options.onBytes(this.#bytes)
    this.#letRead()
  }

  #leave(holding: Holding): void {
    holding.looks = 0
    holding.waits = false
    this.#holdings.delete(holding)
    this.#waiting.delete(holding)
    if (this.#ahead === holding) this.#ahead = undefined
  }

  #mayRead(holding: Holding): boolean {
    if (this.#bytes <= this.#options.limit || holding.bytes <= FREE_BYTES || this.#ahead === holding) return true
    if (this.#ahead === undefined && !holding.waits) {
      this.#ahead = holding
      return true
    }
    if (holding.waits) return false
    holding.waits = true
    this.#waiting.add(holding)
    this.#options.onFull()
    return false
  }

  #letRead(): void {
    while (this.#bytes <= this.#options.limit || this.#ahead === undefined) {
      const [next] = this.#waiting
      if (next === undefined) return
      this.#waiting.delete(next)
      next.waits = false
      if (this.#bytes > this.#options.limit) this.#ahead = next
      next.holder.onRoom()
    }
  }
}
