import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { ACK, concat, END_HEADERS, END_STREAM, type Frame, PREFACE, read32, readFrames, TYPES } from "./frames.ts"

interface StreamState {
  window: number
  endSent: boolean
  resetSent: boolean
  endCame: boolean
  resetCame: boolean
}

/** What one SETTINGS of the peer says. */
type Entries = ReadonlyArray<readonly [id: number, value: number]>

const DEFAULT_WINDOW = 65_535

/**
 * Watches one endpoint from outside, by books of its own: everything that was delivered to it, and everything that it has
 * said. Throws when the endpoint says what RFC 9113 does not allow.
 *
 * What the peer's SETTINGS allow is in force from the acknowledgement on, which stands in the endpoint's own frames at the
 * right place.
 */
export class Observer {
  readonly #role: "client" | "server"
  #in = new Uint8Array(0)
  #out = new Uint8Array(0)
  #prefaceIn: number
  #prefaceOut: number
  /** The octets that come are frames no more: nothing can be said about the rest. */
  #blind = false
  readonly #streams = new Map<number, StreamState>()
  /** By stream: octets that the peer gave it while its head was said and not yet heard here. */
  readonly #early = new Map<number, number>()
  /** The highest stream that a client has opened. */
  highest = 0
  #window = DEFAULT_WINDOW
  #initial = DEFAULT_WINDOW
  #maxStreams = Number.POSITIVE_INFINITY
  readonly #unacknowledged: Array<Entries> = []
  readonly #pings: Array<string> = []
  readonly #decoder = new HpackDecoder(4096)
  #block: { readonly id: number; readonly flags: number; readonly parts: Array<Uint8Array> } | undefined
  #lastGoaway = 0x80000000
  #goawayCode = -1
  #first = true
  /** DATA octets that the endpoint has sent, by stream. */
  readonly sent = new Map<number, number>()

  constructor(role: "client" | "server") {
    this.#role = role
    this.#prefaceIn = role === "server" ? PREFACE.length : 0
    this.#prefaceOut = role === "client" ? PREFACE.length : 0
  }

  /** Octets were delivered to the endpoint. */
  delivered(bytes: Uint8Array): void {
    if (this.#blind) return
    let all = concat(this.#in, bytes)
    const skipped = Math.min(this.#prefaceIn, all.length)
    this.#prefaceIn -= skipped
    all = all.slice(skipped)
    if (this.#prefaceIn > 0) return
    const { frames, rest } = readFrames(all)
    this.#in = rest as Uint8Array<ArrayBuffer>
    for (const frame of frames) this.#came(frame)
    // DATA may be taken before all of its padding has come.
    if (rest.length > 9 && rest[3] === 0 && ((rest[4] ?? 0) & END_STREAM) !== 0) {
      const stream = this.#streams.get(read32(rest, 5) & 0x7fffffff)
      if (stream !== undefined) stream.endCame = true
    }
  }

  /** Octets were said by the endpoint. */
  said(bytes: Uint8Array): void {
    let all = concat(this.#out, bytes)
    const skipped = Math.min(this.#prefaceOut, all.length)
    this.#prefaceOut -= skipped
    all = all.slice(skipped)
    if (this.#prefaceOut > 0) return
    const { frames, rest } = readFrames(all)
    this.#out = rest as Uint8Array<ArrayBuffer>
    for (const frame of frames) this.#check(frame)
  }

  #came(frame: Frame): void {
    const { flags, payload, type } = frame
    const id = frame.id & 0x7fffffff
    if (payload.length > 16_384) {
      this.#blind = true
      return
    }
    const stream = this.#streams.get(id)
    switch (TYPES[type]) {
      case "HEADERS":
        if (this.#role === "server" && stream === undefined && (id & 1) === 1) this.#open(id)
        if (stream !== undefined && (flags & END_STREAM) !== 0) stream.endCame = true
        return
      case "DATA":
        if (stream !== undefined && (flags & END_STREAM) !== 0) stream.endCame = true
        return
      case "RST_STREAM":
        if (stream !== undefined) stream.resetCame = true
        return
      case "SETTINGS":
        if ((flags & ACK) === 0 && payload.length % 6 === 0) {
          const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
          this.#unacknowledged.push(
            Array.from({ length: payload.length / 6 }, (_, i) => [view.getUint16(i * 6), view.getUint32(i * 6 + 2)])
          )
        }
        return
      case "PING":
        if ((flags & ACK) === 0) this.#pings.push(payload.join())
        return
      case "WINDOW_UPDATE": {
        if (payload.length !== 4) return
        const by = read32(payload, 0) & 0x7fffffff
        if (id === 0) this.#window += by
        else if (stream !== undefined) stream.window += by
        else this.#early.set(id, (this.#early.get(id) ?? 0) + by)
      }
    }
  }

  #check(frame: Frame): void {
    const { flags, id, payload, type } = frame
    const name = TYPES[type]
    this.#must(name !== undefined && name !== "PUSH_PROMISE", `a frame of type ${type}`)
    this.#must(payload.length <= 16_384, `a frame of ${payload.length} octets`)
    this.#must(this.#goawayCode <= 0, "a frame after a connection error")
    if (this.#first) this.#must(name === "SETTINGS" && (flags & ACK) === 0, `${name} as its first frame`)
    this.#first = false
    if (this.#block !== undefined) {
      this.#must(name === "CONTINUATION" && id === this.#block.id, `${name} within a field block`)
    }
    switch (name) {
      case "DATA":
        return this.#data(id, flags, payload.length)
      case "HEADERS":
        return this.#headers(id, flags, payload)
      case "CONTINUATION":
        this.#must(this.#block !== undefined, "CONTINUATION without HEADERS")
        this.#block?.parts.push(payload)
        return this.#blockEnds(flags)
      case "RST_STREAM": {
        this.#must(payload.length === 4 && id !== 0, "a wrong RST_STREAM")
        // A server may reset what it has never taken up.
        const stream = this.#streams.get(id)
        this.#must(stream !== undefined, `RST_STREAM on the idle stream ${id}`)
        if (stream !== undefined) stream.resetSent = true
        return
      }
      case "SETTINGS":
        this.#must(id === 0 && payload.length % 6 === 0, "wrong SETTINGS")
        if ((flags & ACK) === 0) return
        return this.#acknowledges()
      case "PING":
        this.#must(id === 0 && payload.length === 8, "a wrong PING")
        if ((flags & ACK) !== 0) this.#must(this.#pings.shift() === payload.join(), "a PING nobody has sent")
        return
      case "GOAWAY": {
        const last = read32(payload, 0)
        this.#must(id === 0 && last <= this.#lastGoaway, "a GOAWAY that takes back what it has said")
        this.#lastGoaway = last
        this.#goawayCode = read32(payload, 4)
        return
      }
      case "WINDOW_UPDATE": {
        const by = read32(payload, 0)
        this.#must(payload.length === 4 && by > 0 && by <= 0x7fffffff, "a wrong WINDOW_UPDATE")
        if (id === 0) return
        const stream = this.#streams.get(id)
        this.#must(stream !== undefined && !stream.resetSent, `WINDOW_UPDATE on stream ${id}, idle or reset`)
      }
    }
  }

  #data(id: number, flags: number, length: number): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) throw new Error(`DATA on the idle stream ${id}`)
    this.#must(!stream.endSent && !stream.resetSent, `DATA on stream ${id} after its end`)
    stream.window -= length
    this.#window -= length
    if (length > 0) {
      this.#must(stream.window >= 0, `DATA beyond the window of stream ${id}`)
      this.#must(this.#window >= 0, "DATA beyond the connection's window")
    }
    this.sent.set(id, (this.sent.get(id) ?? 0) + length)
    if ((flags & END_STREAM) !== 0) stream.endSent = true
  }

  #headers(id: number, flags: number, payload: Uint8Array): void {
    let stream = this.#streams.get(id)
    if (stream === undefined) {
      this.#must(this.#role === "client" && (id & 1) === 1 && id > this.highest, `HEADERS open stream ${id}`)
      this.highest = id
      const open = [...this.#streams.values()].filter((s) => !(s.resetSent || s.resetCame || (s.endSent && s.endCame)))
      this.#must(open.length < this.#maxStreams, `stream ${id} is one more than ${this.#maxStreams}`)
      stream = this.#open(id)
    }
    this.#must(!stream.endSent && !stream.resetSent, `HEADERS on stream ${id} after its end`)
    if ((flags & END_STREAM) !== 0) stream.endSent = true
    this.#block = { id, flags, parts: [payload] }
    this.#blockEnds(flags)
  }

  #blockEnds(flags: number): void {
    if ((flags & END_HEADERS) === 0 || this.#block === undefined) return
    this.#decoder.decode(concat(...this.#block.parts), 1 << 24, () => {})
    this.#must(!this.#decoder.malformed, "a malformed field")
    this.#block = undefined
  }

  #acknowledges(): void {
    const entries = this.#unacknowledged.shift()
    if (entries === undefined) throw new Error("SETTINGS acknowledged that nobody has sent")
    for (const [id, value] of entries) {
      if (id === 1) this.#decoder.setMaxTableSize(value)
      if (id === 3) this.#maxStreams = value
      if (id === 4) {
        for (const stream of this.#streams.values()) stream.window += value - this.#initial
        this.#initial = value
      }
    }
  }

  #open(id: number): StreamState {
    const window = this.#initial + (this.#early.get(id) ?? 0)
    const stream = { window, endSent: false, resetSent: false, endCame: false, resetCame: false }
    this.#streams.set(id, stream)
    return stream
  }

  #must(holds: boolean, otherwise: string): void {
    if (!holds) throw new Error(`The ${this.#role} said ${otherwise}`)
  }
}
