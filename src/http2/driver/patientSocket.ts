import { Socket } from "node:net"

/** What the kernel is asked for at once. */
const READ_BYTES = 65_536
const NEARLY_FULL_BYTES = 49_152

/**
 * The memory that a socket reads into. Node by itself takes {@link READ_BYTES} for each read, cuts them to what came, and has
 * the collector give them back: for a few tokens that is more work than all of ours.
 */
class Reads {
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

/**
 * A socket whose failed write waits for what the peer has said before it closed. Node destroys a socket at once when a
 * write fails, and with it the last bytes that came and were not read: a peer that ends its last answer and closes would
 * look like one that broke. Its reads share their memory; what comes is the listener's all the same.
 */
export class PatientSocket extends Socket {
  #failed = false
  /** What came before anybody listened. */
  #early: Uint8Array | undefined

  constructor() {
    const reads = new Reads()
    super({ onread: reads })
    reads.onChunk = (chunk) => {
      if (this.emit("data", chunk)) return true
      this.#early = chunk
      return false
    }
  }

  override resume(): this {
    const early = this.#early
    this.#early = undefined
    if (early !== undefined) this.emit("data", early)
    return super.resume()
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    super._write(chunk, encoding, (error) => this.#written(error, callback))
  }

  override _writev(
    chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>,
    callback: (error?: Error | null) => void
  ): void {
    super._writev?.(chunks, (error) => this.#written(error, callback))
  }

  /** Nobody hears of the failure yet: once a stream has an error, what it reads is dropped. */
  #written(error: Error | null | undefined, callback: (error?: Error | null) => void): void {
    callback()
    if (error === null || error === undefined || this.#failed) return
    this.#failed = true
    let read = -1
    const look = (): void => {
      // A whole turn of the event loop brought nothing more.
      if (this.bytesRead === read) return void this.destroy(error)
      read = this.bytesRead
      setImmediate(look)
    }
    setImmediate(look)
  }
}
