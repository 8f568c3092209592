/** Bytes of the first buffer; it doubles as it fills. */
const FIRST_BYTES = 1024

/**
 * Byte arrays put together while they wait: one buffer, whatever their number. A token of 60 bytes kept as an object of
 * its own weighs several times as much, and holds all that came with it in one read of the socket.
 */
export class Gathered {
  #buffer: Uint8Array | undefined
  #size = 0

  get size(): number {
    return this.#size
  }

  push(bytes: Uint8Array): void {
    const size = this.#size + bytes.length
    let buffer = this.#buffer
    if (buffer === undefined || buffer.length < size) {
      let room = buffer === undefined ? FIRST_BYTES : buffer.length * 2
      while (room < size) room *= 2
      const larger = new Uint8Array(room)
      if (buffer !== undefined) larger.set(buffer.subarray(0, this.#size))
      buffer = larger
      this.#buffer = larger
    }
    buffer.set(bytes, this.#size)
    this.#size = size
  }

  /** Everything, in order, and nothing is kept. */
  take(): Uint8Array {
    const all = this.#buffer?.subarray(0, this.#size) ?? new Uint8Array(0)
    this.#buffer = undefined
    this.#size = 0
    return all
  }
}
