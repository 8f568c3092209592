/** The PINGs that we have sent and that are not acknowledged (RFC 9113 §6.7), oldest first. */
export class Pings {
  readonly #waiting: Array<(() => void) | undefined> = []
  #sent = 0
  #acknowledged = 0

  /** The peer owes an answer. */
  get pending(): number {
    return this.#sent - this.#acknowledged
  }

  /** The payload of the next PING: its number. */
  next(onAck: (() => void) | undefined): number {
    this.#waiting.push(onAck)
    return ++this.#sent
  }

  /** An acknowledgement came. The payload of a wrong one is nobody's. */
  acknowledge(number: number): void {
    if (number !== this.#acknowledged + 1 || number > this.#sent) return
    this.#acknowledged++
    this.#waiting.shift()?.()
  }
}
