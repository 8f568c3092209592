import type { Socket } from "node:net"
import { Duplex } from "node:stream"

const HEADERS = 1
const END_HEADERS = 4

const literal = (text: string): Buffer => {
  const bytes = Buffer.from(text, "latin1")
  if (bytes.length >= 127) throw new Error("poison is short")
  return Buffer.concat([Buffer.from([bytes.length]), bytes])
}

/** Header fields as HPACK literals without indexing (RFC 7541 §6.2.2): they can be appended to any header block. */
const hpack = (fields: ReadonlyArray<readonly [string, string]>): Buffer =>
  Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), literal(name), literal(value)]))

/**
 * A socket through which `node:http2` speaks as usual, except that header fields which the library would refuse to send
 * are written behind its back into the next header block that {@link PoisonSocket.arm} asks for.
 */
export class PoisonSocket extends Duplex {
  readonly #socket: Socket
  readonly #preface: boolean
  #poison: Buffer | undefined
  #matches: (flags: number) => boolean = () => true
  #rest = Buffer.alloc(0)
  #seenPreface = false

  constructor(socket: Socket, side: "client" | "server") {
    super()
    this.#socket = socket
    this.#preface = side === "client"
    // As `node:http2` does with a socket of its own: window updates are small and must not wait for an ACK.
    socket.setNoDelay()
    socket.on("data", (chunk) => {
      if (!this.push(chunk)) socket.pause()
    })
    socket.on("end", () => this.push(null))
    socket.on("error", (cause) => this.destroy(cause))
    socket.on("close", () => this.destroy())
  }

  /** Writes `fields` into the next HEADERS frame that matches. */
  arm(fields: ReadonlyArray<readonly [string, string]>, matches: (flags: number) => boolean = () => true): void {
    this.#poison = hpack(fields)
    this.#matches = matches
  }

  override _read(): void {
    this.#socket.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (cause?: Error | null) => void): void {
    const out = this.#rewrite(chunk)
    if (out.length === 0) done()
    else this.#socket.write(out, done)
  }

  override _final(done: (cause?: Error | null) => void): void {
    this.#socket.end(done)
  }

  override _destroy(cause: Error | null, done: (cause?: Error | null) => void): void {
    this.#socket.destroy()
    done(cause)
  }

  #rewrite(chunk: Buffer): Buffer {
    let bytes = Buffer.concat([this.#rest, chunk])
    const out: Array<Buffer> = []
    if (this.#preface && !this.#seenPreface) {
      if (bytes.length < 24) return this.#keep(bytes)
      out.push(bytes.subarray(0, 24))
      bytes = bytes.subarray(24)
      this.#seenPreface = true
    }
    while (bytes.length >= 9 && bytes.length >= 9 + bytes.readUIntBE(0, 3)) {
      const size = bytes.readUIntBE(0, 3)
      const head = Buffer.from(bytes.subarray(0, 9))
      const flags = head[4]!
      out.push(head, bytes.subarray(9, 9 + size))
      if (this.#poison !== undefined && head[3] === HEADERS && (flags & END_HEADERS) !== 0 && this.#matches(flags)) {
        out.push(this.#poison)
        head.writeUIntBE(size + this.#poison.length, 0, 3)
        this.#poison = undefined
      }
      bytes = bytes.subarray(9 + size)
    }
    this.#keep(bytes)
    return Buffer.concat(out)
  }

  #keep(bytes: Buffer): Buffer {
    this.#rest = Buffer.from(bytes)
    return Buffer.alloc(0)
  }
}
