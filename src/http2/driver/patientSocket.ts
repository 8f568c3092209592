import { Socket } from "node:net"
import { ownCopy } from "../copies.ts"

/** What the kernel is asked for at once. */
const READ_BYTES = 65_536

/** Hears the first `length` bytes of `memory`, which is read into again when this returns. */
export type ReadListener = (memory: Uint8Array, length: number) => void

/**
 * A socket that reads into memory of its own, and whose failed write waits for what the peer has said before it closed.
 *
 * Node by itself takes {@link READ_BYTES} for each read, cuts them to what came, and has the collector give them back: for a
 * few tokens that is more work than all of ours. And it destroys a socket at once when a write fails, and with it the last
 * bytes that came and were not read: a peer that ends its last answer and closes would look like one that broke.
 */
export class PatientSocket extends Socket {
  #failed = false
  #listener: ReadListener | undefined
  /** What came before anybody listened. */
  #early: Uint8Array | undefined

  constructor() {
    const memory = Buffer.allocUnsafeSlow(READ_BYTES)
    super({ onread: { buffer: memory, callback: (length) => this.#read(memory, length) } })
  }

  /** Who hears what comes, instead of `data` events; once. */
  listen(listener: ReadListener): void {
    this.#listener = listener
    const early = this.#early
    this.#early = undefined
    if (early !== undefined) listener(early, early.length)
    this.resume()
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

  /** `false`: no more for now. */
  #read(memory: Uint8Array, length: number): boolean {
    const listener = this.#listener
    if (listener === undefined) {
      this.#early = ownCopy(memory, 0, length)
      return false
    }
    listener(memory, length)
    return true
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
