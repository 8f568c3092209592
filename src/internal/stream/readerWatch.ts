import type { ServerCall } from "../../services/Wire.ts"

/**
 * Notices a gateway that does not read: its window is full, frames wait, and nothing of them is taken for the slow
 * reader's time. One that takes little by little is slow, but reads.
 */
export class ReaderWatch {
  readonly #call: ServerCall
  readonly #patienceMillis: number
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

  /** Bytes were handed over; `room`: the gateway takes more. `true`: it has just stopped to. */
  handed(bytes: number, room: boolean, now: number): boolean {
    this.#handed += bytes
    if (room || this.#dueAt !== undefined) return false
    this.#takenMark = this.#handed - this.#call.pendingBytes
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
