import type { ServerCall } from "../../services/Wire.ts"

/**
 * Notices a gateway that does not read: its window is full, frames wait, and nothing of them is taken for the slow
 * reader's time. One that takes little by little is slow, but reads.
 */
export class ReaderWatch {
  readonly #call: ServerCall
  readonly #patienceMillis: number
  /** Bytes since it has stopped. */
  #handed = 0
  #takenMark = 0
  #dueAt: number | undefined

  /** `patienceMillis`: `[server] slow_reader_timeout_secs`. */
  constructor(call: ServerCall, patienceMillis: number) {
    this.#call = call
    this.#patienceMillis = patienceMillis
  }

  /** Monotonic milliseconds of the next look; `undefined` while the gateway takes frames. */
  get dueAt(): number | undefined {
    return this.#dueAt
  }

  /**
   * Bytes were handed over; `room`: the gateway takes more. `true`: it has just stopped to. While it takes frames and there
   * is room, nobody needs to tell.
   */
  handed(bytes: number, room: boolean, now: number): boolean {
    if (this.#dueAt !== undefined) {
      this.#handed += bytes
      return false
    }
    if (room) return false
    this.#handed = 0
    this.#takenMark = -this.#call.pendingBytes
    this.#dueAt = now + this.#patienceMillis
    return true
  }

  /** It takes frames again. `false`: it had never stopped. */
  ready(): boolean {
    if (this.#dueAt === undefined) return false
    this.#dueAt = undefined
    return true
  }

  /** The time is up. `false`: nothing was taken since the last look. */
  stillReads(now: number): boolean {
    const taken = this.#handed - this.#call.pendingBytes
    if (taken <= this.#takenMark) return false
    this.#takenMark = taken
    this.#dueAt = now + this.#patienceMillis
    return true
  }
}
