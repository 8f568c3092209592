import { Socket } from "node:net"

/**
 * A socket whose failed write waits for what the peer has said before it closed. Node destroys a socket at once when a
 * write fails, and with it the last bytes that came and were not read: a peer that ends its last answer and closes would
 * look like one that broke.
 */
export class PatientSocket extends Socket {
  #failed = false

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
