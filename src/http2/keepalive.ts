/** Whether a peer that is silent is still there: when to ask, and when to give it up. */
export class Keepalive {
  readonly #afterMillis: number
  readonly #timeoutMillis: number
  #heardAt: number
  #askedAt = -1
  /** Set with every read: the peer lives. */
  heard = false

  /** `afterMillis`: silence after which to ask; 0: never. */
  constructor(now: number, afterMillis: number, timeoutMillis: number) {
    this.#heardAt = now
    this.#afterMillis = afterMillis
    this.#timeoutMillis = timeoutMillis
  }

  /** What is due. */
  tick(now: number): "nothing" | "ask" | "gone" {
    if (this.heard) {
      this.heard = false
      this.#heardAt = now
      this.#askedAt = -1
    }
    if (this.#afterMillis <= 0) return "nothing"
    if (this.#askedAt >= 0) return now - this.#askedAt > this.#timeoutMillis ? "gone" : "nothing"
    if (now - this.#heardAt < this.#afterMillis) return "nothing"
    this.#askedAt = now
    return "ask"
  }
}
