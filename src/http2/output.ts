import { Flag, HEAD_BYTES } from "./protocol.ts"

/** A piece of memory that frames are written into. */
export interface Slab {
  readonly bytes: Uint8Array
  /** How much of it is written. */
  used: number
}

/** Slabs that nobody needs at the moment. One pool serves all connections of a process' driver. */
export class SlabPool {
  readonly slabBytes: number
  readonly #keep: number
  readonly #allocate: (bytes: number) => Uint8Array
  readonly #free: Array<Slab> = []

  /**
   * `slabBytes`: size of each; `keep`: how many lie ready, what is given back beyond goes to the collector. `allocate`: where
   * the platform has a kind of array that its sockets like better.
   */
  constructor(slabBytes = 32_768, keep = 64, allocate = (bytes: number): Uint8Array => new Uint8Array(bytes)) {
    this.slabBytes = slabBytes
    this.#keep = keep
    this.#allocate = allocate
  }

  take(): Slab {
    return this.#free.pop() ?? { bytes: this.#allocate(this.slabBytes), used: 0 }
  }

  /** Nobody reads from the slab any more. */
  give(slab: Slab): void {
    if (this.#free.length >= this.#keep) return
    slab.used = 0
    this.#free.push(slab)
  }
}

/**
 * The bytes that a connection has to say, frame after frame. The driver takes them slab by slab ({@link Output.shift})
 * and confirms what the socket has taken ({@link Output.confirm}).
 */
export class Output {
  readonly pool: SlabPool
  readonly #wake: () => void
  /** Written full; the open one is {@link Output.#open}. */
  readonly #full: Array<Slab> = []
  #open: Slab | undefined
  /** Bytes that nobody has taken yet. */
  waiting = 0
  /** Bytes that were taken and are not confirmed. */
  underWay = 0
  /** The DATA frame that was written last, while its head can still be changed: its stream, and where it begins. */
  #lastData = 0
  #lastDataAt = 0

  /** `wake`: there is something to take, after there was nothing. */
  constructor(pool: SlabPool, wake: () => void) {
    this.pool = pool
    this.#wake = wake
  }

  /** Bytes that the socket has not taken. */
  get size(): number {
    return this.waiting + this.underWay
  }

  /** The oldest slab. It is the caller's now, who gives it back to the pool after the last read from it. */
  shift(): Slab | undefined {
    let slab = this.#full.shift()
    if (slab === undefined) {
      slab = this.#open
      if (slab === undefined) return undefined
      this.#open = undefined
      this.#lastData = 0
    }
    this.waiting -= slab.used
    this.underWay += slab.used
    return slab
  }

  /** The socket has taken `bytes`. */
  confirm(bytes: number): void {
    this.underWay -= bytes
  }

  /** Nobody will take what is left. */
  drop(): void {
    for (let slab = this.shift(); slab !== undefined; slab = this.shift()) this.pool.give(slab)
    this.underWay = 0
  }

  /** A slab in which `bytes` can be written in a row, from `used` on; then {@link Output.wrote}. At most a slab's size. */
  reserve(bytes: number): Slab {
    const open = this.#open
    if (open !== undefined) {
      if (open.bytes.length - open.used >= bytes) return open
      this.#full.push(open)
    }
    const fresh = this.pool.take()
    this.#open = fresh
    return fresh
  }

  /** `bytes` were written where {@link Output.reserve} said. */
  wrote(slab: Slab, bytes: number): void {
    slab.used += bytes
    this.#lastData = 0
    const before = this.waiting
    this.waiting = before + bytes
    if (before === 0) this.#wake()
  }

  /** The head of a frame (RFC 9113 §4.1). */
  head(length: number, type: number, flags: number, id: number): void {
    const slab = this.reserve(HEAD_BYTES)
    putHead(slab.bytes, slab.used, length, type, flags, id)
    this.wrote(slab, HEAD_BYTES)
  }

  /** A frame whose payload is one number of 32 bits: RST_STREAM (§6.4) and WINDOW_UPDATE (§6.9). */
  frame32(type: number, id: number, value: number): void {
    const slab = this.reserve(HEAD_BYTES + 4)
    const { bytes, used } = slab
    putHead(bytes, used, 4, type, 0, id)
    bytes[used + 9] = value >>> 24
    bytes[used + 10] = value >>> 16
    bytes[used + 11] = value >>> 8
    bytes[used + 12] = value
    this.wrote(slab, HEAD_BYTES + 4)
  }

  /** A DATA frame (§6.1) with `from..to` of `source` for its payload. */
  data(id: number, flags: number, source: Uint8Array, from: number, to: number): void {
    const length = to - from
    const slab = this.reserve(length + HEAD_BYTES > this.pool.slabBytes ? HEAD_BYTES : length + HEAD_BYTES)
    const at = slab.used
    putHead(slab.bytes, at, length, 0, flags, id)
    if (length + HEAD_BYTES <= this.pool.slabBytes) {
      copy(source, from, to, slab.bytes, at + HEAD_BYTES)
      this.wrote(slab, HEAD_BYTES + length)
    } else {
      this.wrote(slab, HEAD_BYTES)
      this.append(source, from, to)
      return
    }
    this.#lastData = id
    this.#lastDataAt = at
  }

  /** Sets END_STREAM on the DATA frame that was written last, if it is this stream's and has not been taken. */
  endLastData(id: number): boolean {
    const open = this.#open
    if (this.#lastData !== id || open === undefined) return false
    const at = this.#lastDataAt + 4
    open.bytes[at] = (open.bytes[at] ?? 0) | Flag.END_STREAM
    this.#lastData = 0
    return true
  }

  /** Bytes as they are. */
  append(source: Uint8Array, from = 0, to = source.length): void {
    let at = from
    while (at < to) {
      const slab = this.reserve(1)
      const end = Math.min(to, at + slab.bytes.length - slab.used)
      copy(source, at, end, slab.bytes, slab.used)
      this.wrote(slab, end - at)
      at = end
    }
  }
}

/** Below this a loop is faster than a view and a native call. */
const SMALL_BYTES = 48

const copy = (source: Uint8Array, from: number, to: number, into: Uint8Array, at: number): void => {
  if (to - from <= SMALL_BYTES) {
    for (let i = from, j = at; i < to; i++, j++) into[j] = source[i] ?? 0
  } else into.set(from === 0 && to === source.length ? source : source.subarray(from, to), at)
}

/** Writes a frame's head (§4.1). */
export const putHead = (
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  id: number
): void => {
  bytes[at] = length >>> 16
  bytes[at + 1] = length >>> 8
  bytes[at + 2] = length
  bytes[at + 3] = type
  bytes[at + 4] = flags
  bytes[at + 5] = id >>> 24
  bytes[at + 6] = id >>> 16
  bytes[at + 7] = id >>> 8
  bytes[at + 8] = id
}
