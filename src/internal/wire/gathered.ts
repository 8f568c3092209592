/** Bytes of the first block, and of the ones after it. */
const FIRST_BYTES = 1024
const BLOCK_BYTES = 8192

/**
 * Byte arrays that wait, put together in blocks. A token of 60 bytes kept as an object of its own weighs several times
 * as much, and holds on to all that came with it in one read of the socket. No array is split: a block is made of
 * whole frames when whole frames were put in.
 */
export class Gathered {
  readonly #full: Array<Uint8Array> = []
  #open: Uint8Array | undefined
  #used = 0
  #size = 0

  /** Bytes that wait. */
  get size(): number {
    return this.#size
  }

  push(bytes: Uint8Array): void {
    if (this.#open !== undefined && this.#open.length - this.#used < bytes.length) this.#close()
    const room = this.#size === 0 ? FIRST_BYTES : BLOCK_BYTES
    this.#size += bytes.length
    if (this.#open === undefined && bytes.length >= room) {
      this.#full.push(bytes)
      return
    }
    this.#open ??= new Uint8Array(room)
    this.#open.set(bytes, this.#used)
    this.#used += bytes.length
  }

  /** The oldest block, which waits no longer. */
  take(): Uint8Array | undefined {
    if (this.#full.length === 0) this.#close()
    const block = this.#full.shift()
    this.#size -= block?.length ?? 0
    return block
  }

  /** Drops everything. */
  clear(): void {
    this.#full.length = 0
    this.#open = undefined
    this.#used = 0
    this.#size = 0
  }

  #close(): void {
    if (this.#open === undefined) return
    this.#full.push(this.#open.subarray(0, this.#used))
    this.#open = undefined
    this.#used = 0
  }
}
