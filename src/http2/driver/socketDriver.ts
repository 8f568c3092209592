import type { Socket } from "node:net"
import { Http2Connection } from "../connection.ts"
import type { ConnectionHandler, ConnectionOptions, Transport } from "../connectionTypes.ts"
import type { Slab } from "../output.ts"
import type { Loop } from "./loop.ts"
import { PatientSocket } from "./patientSocket.ts"

/** Time for a peer to close its side after we have said all. */
const CLOSE_MILLIS = 1000
/** Requests that may wait to be handed up before the socket is not read any more. */
const MAX_ARRIVALS = 256
/** Up to this, a read is a few tokens, and copying each costs less than a copy of the read and a view of it for each. */
const FEW_BYTES = 2048

const NOTHING = Buffer.alloc(0)

/** Moves the bytes of one connection through one socket (plain or TLS). */
export class SocketDriver implements Transport {
  readonly connection: Http2Connection
  readonly socket: Socket
  /** When the first of the requests that are being handed up came: what came together has come at one time. */
  arrivedAt = 0
  readonly #loop: Loop
  readonly #encrypted: boolean
  /** Slabs that the socket has not taken yet. */
  #underWay: Array<Slab> = []
  #dirty = false
  #endingAt = -1
  #paused = false
  /** Its turn will come. */
  #awaits = false
  #error: string | undefined
  readonly #written = (): void => this.#onWritten()

  /** `socket` is connected, and nobody else reads it. `encrypted`: a TLS socket, which never takes bytes at once. */
  constructor(
    loop: Loop,
    socket: Socket,
    encrypted: boolean,
    options: Omit<ConnectionOptions, "pool" | "copies" | "now">,
    handler: ConnectionHandler
  ) {
    this.#loop = loop
    this.socket = socket
    this.#encrypted = encrypted
    this.connection = new Http2Connection(
      { ...options, pool: loop.pool, copies: loop.copies, now: loop.now() },
      this,
      handler
    )
    loop.add(this)
    // A window update is small and must not wait for an acknowledgement.
    socket.setNoDelay()
    if (socket instanceof PatientSocket) socket.listen((memory, length) => this.#readLent(memory, length))
    else socket.on("data", (chunk: Buffer) => this.#read(chunk))
    socket.on("error", (error) => {
      this.#error = error.message
    })
    socket.on("end", () => {
      this.connection.lost("the peer closed the connection")
      this.onEnd()
    })
    socket.on("close", () => this.#gone())
  }

  /** Ends the connection without a word. */
  destroy(): void {
    this.socket.destroy()
    this.#gone()
  }

  onOutput(): void {
    if (this.#dirty) return
    this.#dirty = true
    this.#loop.output(this)
  }

  onPressure(): void {
    this.flush()
  }

  onArrivals(): void {
    this.arrivedAt = this.#loop.now()
    this.#await()
  }

  onEnd(): void {
    if (this.#endingAt >= 0) return
    this.#endingAt = this.#loop.now()
    this.onOutput()
  }

  /** Reads on, and hands up requests, at most `limit`. */
  turn(limit: number): void {
    this.#awaits = false
    if (this.connection.turn(limit)) return this.#await()
    if (!this.#paused) return
    this.#paused = false
    this.socket.resume()
  }

  tick(now: number): void {
    this.connection.tick(now)
    if (this.#endingAt >= 0 && now - this.#endingAt > CLOSE_MILLIS) this.destroy()
  }

  /** Writes what there is, unless the last write is still under way. */
  flush(): void {
    this.#dirty = false
    const { socket } = this
    const { output } = this.connection
    if (socket.destroyed) return output.drop()
    if (this.#underWay.length > 0) return
    if (output.waiting > 0) this.#write()
    if (this.#endingAt >= 0 && output.waiting === 0 && !socket.writableEnded) socket.end()
  }

  /** A turn of its own, once. */
  #await(): void {
    if (this.#awaits) return
    this.#awaits = true
    this.#loop.arrivals(this)
  }

  #write(): void {
    const { socket } = this
    const { output } = this.connection
    let slab = output.shift()
    // Mostly the kernel takes it at once, and nothing is left to remember.
    while (slab !== undefined && !this.#encrypted) {
      socket.write(slab.bytes.subarray(0, slab.used))
      if (socket.writableLength > 0) break
      this.#taken(slab)
      slab = output.shift()
    }
    if (slab === undefined) return
    this.#underWay.push(slab)
    socket.cork()
    if (this.#encrypted) socket.write(slab.bytes.subarray(0, slab.used))
    for (let one = output.shift(); one !== undefined; one = output.shift()) {
      this.#underWay.push(one)
      socket.write(one.bytes.subarray(0, one.used))
    }
    // Behind all that, to hear when it has left.
    socket.write(NOTHING, this.#written)
    socket.uncork()
  }

  #taken(slab: Slab): void {
    const { used } = slab
    this.#loop.pool.give(slab)
    this.connection.confirmed(used)
  }

  #onWritten(): void {
    const taken = this.#underWay
    this.#underWay = []
    for (const slab of taken) this.#taken(slab)
    this.flush()
  }

  #readLent(memory: Uint8Array, length: number): void {
    if (length > FEW_BYTES) {
      const chunk = Buffer.allocUnsafe(length)
      chunk.set(memory.subarray(0, length))
      return this.#read(chunk)
    }
    this.connection.receiveLent(memory, length)
    this.#mayPause()
  }

  #read(chunk: Buffer): void {
    this.connection.receive(chunk)
    this.#mayPause()
  }

  #mayPause(): void {
    if ((this.connection.arrivals <= MAX_ARRIVALS && !this.connection.unread) || this.#paused) return
    this.#paused = true
    this.socket.pause()
  }

  #gone(): void {
    this.#loop.remove(this)
    this.connection.lost(this.#error ?? "the connection was closed")
    this.connection.output.drop()
  }
}
