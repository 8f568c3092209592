import type { LimitName } from "../../../src/http2/budget.ts"
import { Http2Connection } from "../../../src/http2/connection.ts"
import type { CloseReason, ConnectionOptions } from "../../../src/http2/connectionTypes.ts"
import { Copies } from "../../../src/http2/copies.ts"
import type { HeaderBlock } from "../../../src/http2/headerBlock.ts"
import { HpackDecoder } from "../../../src/http2/hpack/HpackDecoder.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { SlabPool } from "../../../src/http2/output.ts"
import type { Http2Stream, StreamHandler } from "../../../src/http2/stream.ts"
import { concat, type Frame, PREFACE, readFrames, settings, settingsAck, show } from "./frames.ts"

/** What a peer of the tests writes its header blocks with; one for each connection. */
export const block = (encoder: HpackEncoder, fields: ReadonlyArray<string>): Uint8Array => {
  const room = new Uint8Array(HpackEncoder.bound(fields))
  return room.slice(0, encoder.encode(fields, room, 0))
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

/** How the layer above behaves. */
export interface Behaviour {
  /** What it does with a new stream; default: takes what comes, answers nothing. */
  readonly onRequest?: ((stream: Http2Stream, endpoint: Endpoint) => void) | undefined
  /** Whether it takes more; default always. */
  readonly takes?: (() => boolean) | undefined
}

/** One read of a driver: every other into memory that is larger than what came, and is read into again afterwards. */
export const read = (connection: Http2Connection, bytes: Uint8Array): void => {
  if (bytes.length % 2 === 0) return connection.receive(bytes.slice())
  const memory = new Uint8Array(bytes.length + 20).fill(0xee)
  memory.set(bytes)
  connection.receiveLent(memory, bytes.length)
  memory.fill(0xee)
}

/**
 * One endpoint without sockets and time: frames in, frames and events out, both in words.
 */
export class Endpoint {
  readonly connection: Http2Connection
  /** What the layer above has heard, in words, DATA that came in a row put together. */
  readonly events: Array<string> = []
  /** By identifier. */
  readonly streams = new Map<number, Http2Stream>()
  /** A client's own, in the order of their opening, by what their identifier is without a limit. */
  readonly opened = new Map<number, Http2Stream>()
  readonly received = new Map<number, string>()
  /** The socket was to be closed. */
  ended = false
  closed: CloseReason | undefined
  limit: LimitName | undefined
  readonly #behaviour: Behaviour
  readonly #decoder = new HpackDecoder(4096)
  #raw = new Uint8Array(0)
  #greeting: number

  constructor(options: Partial<ConnectionOptions>, behaviour: Behaviour = {}) {
    this.#behaviour = behaviour
    this.#greeting = options.role === "client" ? PREFACE.length : 0
    this.connection = new Http2Connection(
      { role: "server", pool: new SlabPool(32_768), copies: new Copies(), now: 0, ...options },
      {
        onOutput: () => {},
        onPressure: () => {},
        onArrivals: () => {},
        onEnd: () => {
          this.ended = true
        }
      },
      {
        onReady: () => this.events.push("ready"),
        onRequest: (stream, request) => this.#onRequest(stream, request),
        onGoaway: (code, last) => this.events.push(`goaway ${last} ${code}`),
        onLimit: (limit) => {
          this.limit = limit
        },
        onForeign: (what) => this.events.push(`foreign ${what}`),
        onIdle: () => this.events.push("idle"),
        onClose: (reason) => {
          this.closed = reason
        }
      }
    )
  }

  /** Bytes come, all at once; `cuts`: where the reads end. */
  receive(bytes: Uint8Array, cuts: ReadonlyArray<number> = []): void {
    let at = 0
    for (const cut of [...cuts, bytes.length]) {
      read(this.connection, bytes.subarray(at, cut))
      at = cut
    }
    this.turn()
  }

  /** The end of an event loop's turn. */
  turn(): void {
    while (this.connection.turn(1000));
  }

  /** What was written since the last time. */
  take(): Uint8Array {
    const parts: Array<Uint8Array> = []
    const { output } = this.connection
    for (let slab = output.shift(); slab !== undefined; slab = output.shift()) {
      parts.push(slab.bytes.slice(0, slab.used))
      const { used } = slab
      output.pool.give(slab)
      this.connection.confirmed(used)
    }
    return concat(...parts)
  }

  /** The frames that were written since the last time, without a client's preface. */
  frames(): Array<Frame> {
    let bytes = concat(this.#raw, this.take())
    if (this.#greeting > 0) {
      bytes = bytes.slice(this.#greeting)
      this.#greeting = 0
    }
    const { frames, rest } = readFrames(bytes)
    this.#raw = rest as Uint8Array<ArrayBuffer>
    return frames
  }

  /** The frames that were written since the last time, in words. */
  said(): Array<string> {
    return this.frames().map((frame) => show(frame, (payload) => this.fields(payload)))
  }

  /** A header block that was written, as "name=value name=value"; each once, in their order. */
  fields(payload: Uint8Array): string {
    const fields: Array<string> = []
    this.#decoder.decode(payload, 1 << 20, (name, value) => fields.push(`${name}=${value}`))
    return fields.join(" ")
  }

  /** A handler that tells all it hears. */
  handler(id: () => number): StreamHandler {
    const tell = (what: string) => this.events.push(`${id()} ${what}`)
    return {
      onHeaders: (head) => tell(`headers ${head.status}${head.endStream ? " end" : ""}`),
      onData: (bytes) => {
        this.received.set(id(), (this.received.get(id()) ?? "") + text(bytes))
        const last = this.events.at(-1)
        if (last !== undefined && last.startsWith(`${id()} data `)) this.events[this.events.length - 1] += text(bytes)
        else tell(`data ${text(bytes)}`)
        return this.#behaviour.takes?.() ?? true
      },
      onEnd: (trailers) => tell(trailers === undefined ? "end" : `end ${trailers.fields.join(" ")}`),
      onReset: (code, cause) => tell(`reset ${code} ${cause}`),
      onDrain: () => tell("drain")
    }
  }

  #onRequest(stream: Http2Stream, request: HeaderBlock): void {
    const { id } = stream
    this.streams.set(id, stream)
    this.events.push(`${id} request ${request.method} ${request.path}${request.tooLarge ? " too large" : ""}`)
    stream.attach(this.handler(() => id))
    stream.resume()
    this.#behaviour.onRequest?.(stream, this)
  }
}

/** The fields of a gRPC request. */
export const REQUEST = Object.entries({
  ":method": "POST",
  ":scheme": "http",
  ":path": "/s/m",
  ":authority": "a",
  te: "trailers",
  "content-type": "application/grpc"
}).flat()

/** The fields of a gRPC response. */
export const RESPONSE = [":status", "200", "content-type", "application/grpc"]

/** A server that has been greeted: all it said about that is taken. */
export const server = (options: Partial<ConnectionOptions> = {}, behaviour: Behaviour = {}): Endpoint => {
  const endpoint = new Endpoint({ ...options, role: "server" }, behaviour)
  endpoint.receive(concat(PREFACE, settings(), settingsAck))
  endpoint.said()
  endpoint.events.length = 0
  return endpoint
}

/** A client that has been greeted. */
export const client = (options: Partial<ConnectionOptions> = {}, behaviour: Behaviour = {}): Endpoint => {
  const endpoint = new Endpoint({ ...options, role: "client" }, behaviour)
  endpoint.receive(concat(settings(), settingsAck))
  endpoint.said()
  endpoint.events.length = 0
  return endpoint
}

/** A client's new stream. */
export const openStream = (endpoint: Endpoint, fields: ReadonlyArray<string> = REQUEST): Http2Stream => {
  const slot: { stream: Http2Stream | undefined } = { stream: undefined }
  const stream = endpoint.connection.open(fields, endpoint.handler(() => slot.stream?.id ?? 0))
  if (stream === undefined) throw new Error("The connection takes no new streams")
  slot.stream = stream
  endpoint.opened.set(2 * endpoint.opened.size + 1, stream)
  return stream
}
