/**
 * The request bytes that all streams keep together: of those that wait for a worker, and of those that could be sent to one
 * again. `[server] max_buffered_request_bytes`.
 */
export class RequestBytes {
  readonly #limit: () => number
  readonly #onLimit: () => void
  #bytes = 0

  /** `onLimit`: told when a stream has to give something up for it. */
  constructor(limit: () => number, onLimit: () => void) {
    this.#limit = limit
    this.#onLimit = onLimit
  }

  /** Bytes that are kept. */
  get bytes(): number {
    return this.#bytes
  }

  add(bytes: number): void {
    this.#bytes += bytes
  }

  /** Whether more is kept than may be; whoever asks has to give up what it keeps. */
  exceeded(): boolean {
    if (this.#bytes <= this.#limit()) return false
    this.#onLimit()
    return true
  }
}
