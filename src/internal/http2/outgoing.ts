import type { Http2Stream } from "node:http2"
import { Gathered } from "../wire/gathered.ts"

/** What waits behind the write under way, at most, before the writer is told to stop. */
const LIMIT_BYTES = 16_384

/**
 * The DATA that is sent on one HTTP/2 stream: one write is under way at a time, and what is handed over meanwhile leaves
 * together, as the next one. A burst costs one write for many frames; a peer that does not read costs one small buffer.
 */
export class Outgoing {
  readonly #stream: Http2Stream
  readonly #onDrain: () => void
  readonly #waiting = new Gathered()
  readonly #written = (): void => this.#onWritten()
  #underWay = 0
  #full = false

  /** `onDrain`: there is room again, after {@link write} had answered `false`. */
  constructor(stream: Http2Stream, onDrain: () => void) {
    this.#stream = stream
    this.#onDrain = onDrain
  }

  /** Bytes that the peer's window has not taken. */
  get pending(): number {
    return this.#underWay === 0 ? 0 : this.#stream.writableLength + this.#waiting.size
  }

  /** `false`: full. */
  write(bytes: Uint8Array): boolean {
    if (this.#underWay === 0) {
      this.#send(bytes)
      this.#full = bytes.length >= LIMIT_BYTES
    } else if (bytes.length >= LIMIT_BYTES) {
      this.flush()
      this.#send(bytes)
      this.#full = true
    } else {
      this.#waiting.push(bytes)
      this.#full ||= this.#waiting.size >= LIMIT_BYTES
    }
    return !this.#full
  }

  /** Hands everything that waits to the stream. */
  flush(): void {
    for (let block = this.#waiting.take(); block !== undefined; block = this.#waiting.take()) this.#send(block)
  }

  #send(bytes: Uint8Array): void {
    this.#underWay++
    this.#stream.write(bytes, this.#written)
  }

  #onWritten(): void {
    this.#underWay--
    if (this.#underWay > 0) return
    if (this.#stream.destroyed) return
    this.flush()
    if (!this.#full) return
    this.#full = false
    this.#onDrain()
  }
}
