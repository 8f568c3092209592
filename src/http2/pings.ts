/** The PINGs (RFC 9113 §6.7) or SETTINGS (§6.5.3) that we have sent and that are not acknowledged, oldest first. */
export class Pings {
  readonly #waiting: Array<(() => void) | undefined> = []
  #sent = 0
  #acknowledged = 0

  /** The peer owes an answer. */
  get pending(): number {
    return this.#sent - this.#acknowledged
  }

  /** The number of the next; a PING carries it for its payload. */
  next(onAck: (() => void) | undefined): number {
    this.#waiting.push(onAck)
    return ++this.#sent
  }

  /** An acknowledgement came, of `number` or of the oldest. One that nobody waits for is dropped. */
  acknowledge(number = this.#acknowledged + 1): void {
    if (number !== this.#acknowledged + 1 || number > this.#sent) return
    this.#acknowledged++
    this.#waiting.shift()?.()
  }
}
