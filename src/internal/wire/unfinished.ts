import { lengthAt, PREFIX_BYTES } from "./prefix.ts"

/** The first block, and the largest: each is as large as all before it, so at most half of the memory is unused. */
const FIRST_BYTES = 256
const BLOCK_BYTES = 64 * 1024
/** Bytes moved for each byte that comes, once the whole message has a place. More than one, or it would never be done. */
const MOVED_PER_BYTE = 3

/**
 * The bytes of one message, with its prefix, while it is not whole. They are copied: a chunk of one byte costs a byte,
 * and a view would hold on to all that came in the same read of the socket.
 *
 * Neither memory nor time is taken ahead of what was sent. Bytes are gathered in blocks, until half of the message is
 * there; only then has the whole message a place, into which the blocks move a few at a time. To join a message of a
 * hundred megabytes in one step would stop everybody for as long as that takes.
 */
export class Unfinished {
  #blocks: Array<Uint8Array> = []
  /** Bytes used of the last block. */
  #used = 0
  /** The place of the whole message. */
  #place: Uint8Array | undefined
  /** Bytes at the beginning of the place that were moved from blocks. */
  #moved = 0
  #size = 0
  #need = 0

  /** Bytes that are here. */
  get size(): number {
    return this.#size
  }

  /** Bytes of the whole message with its prefix; 0 while the prefix is not whole. */
  get need(): number {
    return this.#need
  }

  get whole(): boolean {
    return this.#need > 0 && this.#size === this.#need
  }

  /** Takes what of `chunk` belongs to the message, and answers how many bytes that are. */
  push(chunk: Uint8Array): number {
    let used = 0
    if (this.#need === 0) {
      used = Math.min(PREFIX_BYTES - this.#size, chunk.length)
      this.#gather(chunk.subarray(0, used))
      if (this.#size < PREFIX_BYTES) return used
      this.#need = PREFIX_BYTES + lengthAt(this.#blocks[0] ?? chunk, 0)
    }
    const end = used + Math.min(this.#need - this.#size, chunk.length - used)
    if (end === used) return used
    const rest = chunk.subarray(used, end)
    if (this.#place === undefined && (this.#size + rest.length) * 2 >= this.#need) {
      this.#place = Buffer.allocUnsafeSlow(this.#need)
    }
    if (this.#place === undefined) this.#gather(rest)
    else {
      this.#place.set(rest, this.#size)
      this.#size += rest.length
      this.#move(rest.length * MOVED_PER_BYTE + BLOCK_BYTES)
    }
    return end
  }

  /** The whole message. */
  take(): Uint8Array {
    this.#move(Number.POSITIVE_INFINITY)
    return this.#place ?? this.#blocks[0]?.subarray(0, this.#size) ?? new Uint8Array()
  }

  /** The whole message and what came behind it, as one. */
  takeWith(more: Uint8Array): Uint8Array {
    const message = this.take()
    const out = new Uint8Array(message.length + more.length)
    out.set(message)
    out.set(more, message.length)
    return out
  }

  #gather(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      const block = this.#blocks.at(-1)
      if (block === undefined || this.#used === block.length) {
        this.#blocks.push(new Uint8Array(Math.min(BLOCK_BYTES, Math.max(FIRST_BYTES, this.#size))))
        this.#used = 0
        continue
      }
      const part = bytes.subarray(at, at + block.length - this.#used)
      block.set(part, this.#used)
      this.#used += part.length
      this.#size += part.length
      at += part.length
    }
  }

  /** Moves whole blocks into the place, about `bytes` of them. */
  #move(bytes: number): void {
    const place = this.#place
    if (place === undefined) return
    let left = bytes
    while (left > 0 && this.#next < this.#blocks.length) {
      const block = this.#blocks[this.#next] ?? new Uint8Array()
      const used = this.#next === this.#blocks.length - 1 ? block.subarray(0, this.#used) : block
      place.set(used, this.#moved)
      this.#moved += used.length
      left -= used.length
      this.#blocks[this.#next++] = NONE
    }
  }

  /** The next block to be moved. */
  #next = 0
}

const NONE = new Uint8Array()
