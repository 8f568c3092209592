import type { Http2Stream } from "node:http2"

/**
 * The DATA of one HTTP/2 stream, chunk by chunk, as it leaves the HTTP/2 library.
 *
 * **Details**
 *
 * `node:http2` hands each DATA frame to `stream.push`, where the queue of a Node Readable begins: buffer objects, a
 * "data" event and a deferred "read more" for each frame, and for a reader that has stopped up to two windows of frames
 * kept as single objects. This stands in the place of `push` and takes the chunk itself. What `push` answers is the flow
 * control it has always been: `false` stops the reading, and the stream's HTTP/2 window holds the peer back. The end
 * (`push(null)`) goes to the Readable, whose buffer is empty, and is read off it: "end" and "close" come as ever.
 */
export class Incoming {
  readonly #stream: Http2Stream
  readonly #onChunk: (chunk: Uint8Array) => boolean
  #stopped = false

  /** `onChunk` answers whether more may come; after `false` only what is already under way does, until {@link resume}. */
  constructor(stream: Http2Stream, onChunk: (chunk: Uint8Array) => boolean) {
    this.#stream = stream
    this.#onChunk = onChunk
  }

  /** Takes what has come so far, and from now on every chunk. */
  begin(): void {
    const stream = this.#stream
    const early: Uint8Array | null = stream.read()
    const { push } = stream
    stream.push = (chunk: Uint8Array | null) => {
      if (chunk !== null) return this.#take(chunk)
      push.call(stream, null)
      if (!stream.destroyed) stream.read(0)
      return false
    }
    if (early === null || this.#take(early)) stream._read(0)
  }

  /** Reads on: opens the window by what has been taken. */
  resume(): void {
    if (!this.#stopped || this.#stream.destroyed) return
    this.#stopped = false
    this.#stream._read(0)
  }

  #take(chunk: Uint8Array): boolean {
    const more = this.#onChunk(chunk)
    this.#stopped = !more
    return more
  }
}
