import type { Copies } from "./copies.ts"
import type { Http2Stream } from "./stream.ts"

/**
 * DATA of one read that belongs to one stream, put together: the heads of its frames are closed over, so that what came in
 * a row is handed up as one array. The bytes stay in the chunk that they came in, unless it is lent.
 */
export class DataRun {
  readonly #copies: Copies
  /** The chunks are read into again: what is handed up is copied. */
  lent = false
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
    if (stream.closed) return
    const from = this.#from
    const to = this.#to
    stream.deliver(
      this.lent ? this.#copies.of(chunk, from, to) : new Uint8Array(chunk.buffer, chunk.byteOffset + from, to - from)
    )
  }
}
