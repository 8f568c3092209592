import { Socket } from "node:net"
import { SharedReads } from "./sharedReads.ts"

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
    const reads = new SharedReads()
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
