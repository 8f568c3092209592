import type { Http2Stream } from "../../http2/stream.ts"

/** How often streams whose reset has to wait are looked at, in milliseconds. */
const RETRY_MILLIS = 100
/** Resets that may be sent at once are those of so many seconds. */
const BURST_SECONDS = 5

/**
 * Resets towards the worker, at a rate. Servers take many resets for an attack (CVE-2023-44487) and close the connection, with
 * the streams of all gateways on it: Node beyond 1,000 and then 33 a second, others alike. A call beyond the rate is
 * drained: what the worker still says is read and dropped, until it ends or its reset may leave.
 */
export class CancelRate {
  readonly #perMilli: number
  readonly #burst: number
  readonly #now: () => number
  readonly #onLate: () => void
  #allowed: number
  #at: number
  #waiting: Array<Http2Stream> = []
  #timer: NodeJS.Timeout | undefined

  /** `perSecond`: resets; 0: no limit. `onLate`: one has to wait. */
  constructor(perSecond: number, now: () => number, onLate: () => void) {
    this.#perMilli = perSecond / 1000
    this.#burst = perSecond * BURST_SECONDS
    this.#now = now
    this.#onLate = onLate
    this.#allowed = this.#burst
    this.#at = now()
  }

  /** Ends a stream; the worker hears it now or later. */
  cancel(stream: Http2Stream): void {
    // One that the worker has not seen needs no reset.
    if (stream.head !== undefined || this.#take()) return stream.reset()
    this.#onLate()
    stream.discard()
    this.#waiting.push(stream)
    this.#timer ??= setTimeout(() => this.#retry(), RETRY_MILLIS)
  }

  /** Nothing more is reset. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#waiting = []
  }

  #take(): boolean {
    if (this.#perMilli === 0) return true
    const now = this.#now()
    this.#allowed = Math.min(this.#burst, this.#allowed + (now - this.#at) * this.#perMilli)
    this.#at = now
    if (this.#allowed < 1) return false
    this.#allowed--
    return true
  }

  #retry(): void {
    this.#timer = undefined
    this.#waiting = this.#waiting.filter((stream) => !stream.closed)
    let at = 0
    while (at < this.#waiting.length && this.#take()) this.#waiting[at++]?.reset()
    this.#waiting.splice(0, at)
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#retry(), RETRY_MILLIS)
  }
}
