/** Sizes of a queue's blocks: the first is small, since most queues never hold more. */
const FIRST_BYTES = 1024
const BLOCK_BYTES = 8192

/**
 * Byte arrays that wait, put together in blocks. A token of 60 bytes that is kept as an object of its own weighs several
 * times as much, and holds on to all that came with it in one read of the socket.
 */
export class ByteQueue {
  readonly #full: Array<Uint8Array> = []
  #open: Uint8Array | undefined
  #used = 0
  /** Bytes of the oldest block that {@link ByteQueue.drop} has taken off. */
  #gone = 0
  /** Bytes that wait. */
  size = 0

  /** Small arrays are copied, one of a block's size or more is kept as it is: it must not change. */
  push(bytes: Uint8Array, from = 0): void {
    const length = bytes.length - from
    if (length === 0) return
    if (this.#open !== undefined && this.#open.length - this.#used < length) this.#close()
    const room = this.size === 0 ? FIRST_BYTES : BLOCK_BYTES
    this.size += length
    if (this.#open === undefined && length >= room) {
      this.#full.push(from === 0 ? bytes : bytes.subarray(from))
      return
    }
    this.#open ??= new Uint8Array(room)
    this.#open.set(from === 0 ? bytes : bytes.subarray(from), this.#used)
    this.#used += length
  }

  /** The oldest block, or what is left of it; it waits no longer. */
  shift(): Uint8Array | undefined {
    const block = this.first()
    if (block === undefined) return undefined
    this.drop(block.length)
    return block
  }

  /** The oldest block, or what is left of it. */
  first(): Uint8Array | undefined {
    if (this.#full.length === 0) this.#close()
    const block = this.#full[0]
    return block === undefined || this.#gone === 0 ? block : block.subarray(this.#gone)
  }

  /** Takes `bytes` off the oldest block; not more than it has. */
  drop(bytes: number): void {
    const block = this.#full[0]
    if (block === undefined) return
    this.size -= bytes
    this.#gone += bytes
    if (this.#gone < block.length) return
    this.#full.shift()
    this.#gone = 0
  }

  clear(): void {
    this.#full.length = 0
    this.#open = undefined
    this.#used = 0
    this.#gone = 0
    this.size = 0
  }

  #close(): void {
    if (this.#open === undefined) return
    this.#full.push(this.#open.subarray(0, this.#used))
    this.#open = undefined
    this.#used = 0
  }
}
