import type { Copies } from "./copies.ts"
import type { Http2Stream } from "./stream.ts"

/**
 * DATA of one read that belongs to one stream, put together: the heads of its frames are closed over, so that what came in
 * a row is handed up as one array, a copy, as the chunk is not ours for longer than the read.
 */
export class DataRun {
  readonly #copies: Copies
  #stream: Http2Stream | undefined
  #chunk: Uint8Array | undefined
  #from = 0
  #to = 0

  constructor(copies: Copies) {
    this.#copies = copies
  }

  /** Bytes of `stream`, behind those that came before. */
  add(stream: Http2Stream, chunk: Uint8Array, from: number, to: number): void {
    if (this.#stream === stream && this.#chunk === chunk) {
      if (from !== this.#to) chunk.copyWithin(this.#to, from, to)
      this.#to += to - from
      return
    }
    this.flush()
    this.#stream = stream
    this.#chunk = chunk
    this.#from = from
    this.#to = to
  }

  /** Hands up what there is. */
  flush(): void {
    const stream = this.#stream
    const chunk = this.#chunk
    if (stream === undefined || chunk === undefined) return
    this.#stream = undefined
    this.#chunk = undefined
    if (!stream.closed) stream.deliver(this.#copies.of(chunk, this.#from, this.#to))
  }
}
