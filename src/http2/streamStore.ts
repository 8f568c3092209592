import { IdMap } from "./idMap.ts"
import type { Http2Stream } from "./stream.ts"

/** How a stream that is gone came to its end. */
export const Gone = { UNKNOWN: 0, ENDED: 1, RESET_BY_US: 2, RESET_BY_PEER: 3 } as const

/** How many streams that are gone are remembered. */
const REMEMBERED = 256

/**
 * The streams of a connection that are not closed, and for a while how those that are came to their end: frames that were
 * under way when we reset a stream are no fault (RFC 9113 §5.1, "closed").
 */
export class StreamStore {
  readonly #streams = new IdMap<Http2Stream>()
  #gone: Int32Array | undefined
  #goneAt = 0

  get size(): number {
    return this.#streams.size
  }

  get(id: number): Http2Stream | undefined {
    return this.#streams.get(id)
  }

  add(stream: Http2Stream): void {
    this.#streams.set(stream.id, stream)
  }

  remove(stream: Http2Stream, how: number): void {
    if (this.#streams.delete(stream.id)) this.remember(stream.id, how)
  }

  /** The stream has never been heard of: its identifier stays unused. */
  withdraw(stream: Http2Stream): void {
    this.#streams.delete(stream.id)
  }

  /** A stream that never was here is gone, too: it was refused. */
  remember(id: number, how: number): void {
    // An identifier has 31 bits (§5.1.1) and its end two: the lowest bit of the identifier is its initiator's, the same for all.
    const gone = this.#gone ??= new Int32Array(REMEMBERED)
    gone[this.#goneAt] = ((id >>> 1) << 2) | how
    this.#goneAt = (this.#goneAt + 1) % REMEMBERED
  }

  /** How a stream that is not here any more came to its end; UNKNOWN when that was long ago, or it never was. */
  howGone(id: number): number {
    const gone = this.#gone
    if (gone === undefined) return Gone.UNKNOWN
    for (let at = 0; at < REMEMBERED; at++) {
      const entry = gone[at] ?? 0
      if (entry >>> 2 === id >>> 1 && entry !== 0) return entry & 3
    }
    return Gone.UNKNOWN
  }

  /** All streams, the oldest first, also while the store changes. */
  all(): Array<Http2Stream> {
    return this.#streams.values()
  }
}
