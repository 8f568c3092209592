import type { Http2Stream } from "./stream.ts"

/** Streams in a row, first come first served. A stream stands in one list at most, and needs no object for it. */
export class StreamList {
  first: Http2Stream | undefined
  #last: Http2Stream | undefined

  add(stream: Http2Stream): void {
    stream.list?.remove(stream)
    stream.list = this
    stream.previous = this.#last
    if (this.#last === undefined) this.first = stream
    else this.#last.next = stream
    this.#last = stream
  }

  remove(stream: Http2Stream): void {
    if (stream.list !== this) return
    const { next, previous } = stream
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    stream.list = undefined
    stream.next = undefined
    stream.previous = undefined
  }

  /** Puts all that stand in `other` behind those that stand here. */
  takeAll(other: StreamList): void {
    for (let stream = other.first; stream !== undefined; stream = other.first) this.add(stream)
  }
}
