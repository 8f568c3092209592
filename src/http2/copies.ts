/** Copies share memory of this size, and one that would take a fourth of it has its own. */
const BLOCK_BYTES = 8192
const LARGE_BYTES = BLOCK_BYTES / 4

/**
 * Copies of what lies in memory that will be read into again. Small ones lie side by side, since each piece of memory that a
 * process asks for by itself costs more than a token's bytes: whoever keeps one keeps its neighbours.
 */
export class Copies {
  #block = new Uint8Array(0)
  #used = 0

  /** A copy of `from..to`. */
  of(source: Uint8Array, from: number, to: number): Uint8Array {
    const length = to - from
    if (length >= LARGE_BYTES) return ownCopy(source, from, to)
    if (this.#used + length > this.#block.length) {
      this.#block = new Uint8Array(BLOCK_BYTES)
      this.#used = 0
    }
    const block = this.#block
    const at = this.#used
    this.#used = at + length
    block.set(new Uint8Array(source.buffer, source.byteOffset + from, length), at)
    return new Uint8Array(block.buffer, at, length)
  }
}

/** A copy of `from..to` in memory of its own. */
export const ownCopy = (source: Uint8Array, from: number, to: number): Uint8Array => {
  const copy = new Uint8Array(to - from)
  copy.set(new Uint8Array(source.buffer, source.byteOffset + from, to - from))
  return copy
}
