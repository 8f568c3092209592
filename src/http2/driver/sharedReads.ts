/** What the kernel is asked for at once. */
const READ_BYTES = 65_536
const NEARLY_FULL_BYTES = 49_152

/**
 * The memory that a socket reads into. Node by itself takes {@link READ_BYTES} for each read, cuts them to what came, and has
 * the collector give them back: for a few tokens that is more work than all of ours.
 */
export class SharedReads {
  onChunk: (chunk: Uint8Array) => boolean = () => true
  #memory = Buffer.allocUnsafeSlow(READ_BYTES)

  /** Where the next read goes. */
  readonly buffer = (): Uint8Array => this.#memory

  /**
   * So many bytes have come. They are copied, or the memory is given away with them when it is nearly full and other memory takes
   * its place: whoever keeps a part of them keeps it all.
   */
  readonly callback = (bytes: number): boolean => {
    const memory = this.#memory
    if (bytes < NEARLY_FULL_BYTES) return this.onChunk(Buffer.from(memory.subarray(0, bytes)))
    this.#memory = Buffer.allocUnsafeSlow(READ_BYTES)
    return this.onChunk(memory.subarray(0, bytes))
  }
}
