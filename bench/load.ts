/**
 * The gateway of the benchmark: one HTTP/2 connection over a bare socket, built to cost little and to know much. Requests
 * are prebuilt, answers are counted by their bytes, header blocks are not decoded.
 */
import * as net from "node:net"
import {
  ErrorCode,
  Flag,
  type Frame,
  frame,
  FrameReader,
  FrameType,
  ping,
  PREFACE,
  rstStream,
  Setting,
  settings,
  settingsAck,
  windowUpdate
} from "../test/conformance/raw/frames.ts"
import * as Hpack from "../test/conformance/raw/hpack.ts"
import { END_MESSAGE, nowMicros, type Plan, planRequest, readStamp, TOKEN_BYTES } from "./token.ts"

/** Where a proxy, or the worker itself, takes calls. */
export type Address = { readonly port: number } | { readonly path: string }

export interface StreamEvents {
  /** A token's way from the worker's write to here, in microseconds; only for plans whose tokens are stamped. */
  readonly onLatency?: ((micros: number) => void) | undefined
  /** The stream is over; `complete` when it brought every byte that its plan promised. */
  readonly onEnd?: ((complete: boolean) => void) | undefined
}

interface Open extends StreamEvents {
  readonly expected: number
  readonly tokenBytes: number
  bytes: number
  /** The first bytes of a token whose rest is still to come. */
  partial: Buffer | undefined
  read: number
}

export interface LoadOptions {
  /** Readers that never open their streams' windows again: each takes 64 KiB and no more. Default: false. */
  readonly stalled?: boolean | undefined
}

/** The five fields that a gateway repeats with each call; sent once, named by index afterwards. */
const REPEATED: Hpack.HeaderList = [
  [":path", "/cy.llm.AiInference/StreamPredict"],
  [":authority", "sidecar"],
  ["te", "trailers"],
  ["content-type", "application/grpc"],
  ["user-agent", "bench"]
]
const POST_HTTP = Hpack.encodeIndexed(3, 6)
const FIRST_BLOCK = Buffer.concat([POST_HTTP, Hpack.encodeIndexing(REPEATED)])
const NEXT_BLOCK = Buffer.concat([POST_HTTP, Hpack.encodeIndexed(66, 65, 64, 63, 62)])

/** How much is received before the windows are opened again. */
const CREDIT = 16 * 1024

export class Load {
  readonly #socket: net.Socket
  readonly #reader = new FrameReader()
  readonly #streams = new Map<number, Open>()
  readonly #uncredited = new Map<number, number>()
  readonly #stalled: boolean
  #connectionCredit = 0
  #nextId = 1
  #failure: Error | undefined
  #tokens = 0
  /** Streams that ended with all they had promised. */
  completed = 0
  /** Streams that were reset, refused or cut short. */
  broken = 0

  private constructor(socket: net.Socket, stalled: boolean) {
    this.#socket = socket
    this.#stalled = stalled
    socket.setNoDelay(true)
    socket.write(Buffer.concat([
      PREFACE,
      settings([Setting.ENABLE_PUSH, 0], [Setting.INITIAL_WINDOW_SIZE, 65_535]),
      windowUpdate(0, stalled ? 1024 * 1024 * 1024 : 4 * 1024 * 1024)
    ]))
    socket.on("data", (chunk: Buffer) => this.#reader.push(chunk, (frame) => this.#hear(frame)))
    socket.on("close", () => this.#lose(new Error("the connection was closed")))
  }

  /** Connects; rejects when nobody listens. */
  static connect(address: Address, options: LoadOptions = {}): Promise<Load> {
    return new Promise((resolve, reject) => {
      const socket = "path" in address ? net.connect(address.path) : net.connect(address.port, "127.0.0.1")
      socket.once("error", reject)
      socket.once("connect", () => {
        socket.off("error", reject)
        const load = new Load(socket, options.stalled ?? false)
        socket.on("error", (error) => load.#lose(error))
        resolve(load)
      })
    })
  }

  /** Tokens received since the connection was opened. */
  get tokens(): number {
    return Math.floor(this.#tokens - this.completed * (END_MESSAGE.length / TOKEN_BYTES))
  }

  get open(): number {
    return this.#streams.size
  }

  /** Opens a stream and half-closes it, as all of its requests are sent. Answers its id. */
  start(plan: Plan, events: StreamEvents = {}): number {
    if (this.#failure !== undefined) throw this.#failure
    const id = this.#nextId
    this.#nextId += 2
    const tokenBytes = plan.kind === "paced" ? plan.bytes ?? TOKEN_BYTES : TOKEN_BYTES
    const expected = plan.kind === "short" ? plan.tokens * TOKEN_BYTES + END_MESSAGE.length : Infinity
    this.#streams.set(id, { ...events, expected, tokenBytes, bytes: 0, partial: undefined, read: 0 })
    this.#socket.write(Buffer.concat([
      frame(FrameType.HEADERS, Flag.END_HEADERS, id, id === 1 ? FIRST_BLOCK : NEXT_BLOCK),
      frame(FrameType.DATA, Flag.END_STREAM, id, planRequest(plan))
    ]))
    return id
  }

  /** Cancels a stream (RST_STREAM CANCEL); its `onEnd` is not called. */
  cancel(id: number): void {
    if (this.#streams.delete(id)) this.#socket.write(rstStream(id, ErrorCode.CANCEL))
  }

  close(): Promise<void> {
    for (const id of this.#streams.keys()) this.cancel(id)
    this.#failure = new Error("closed")
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve()
      this.#socket.once("close", () => resolve())
      this.#socket.end()
      setTimeout(() => this.#socket.destroy(), 500).unref()
    })
  }

  #lose(error: Error): void {
    this.#failure ??= error
    for (const [id, stream] of this.#streams) {
      this.#streams.delete(id)
      this.broken += 1
      stream.onEnd?.(false)
    }
  }

  #hear({ type, flags, streamId, payload }: Frame): void {
    switch (type) {
      case FrameType.DATA:
        this.#data(streamId, payload)
        break
      case FrameType.SETTINGS:
        if ((flags & Flag.ACK) === 0) this.#socket.write(settingsAck())
        return
      case FrameType.PING:
        if ((flags & Flag.ACK) === 0) this.#socket.write(ping(true, payload))
        return
      case FrameType.RST_STREAM:
        this.#end(streamId, false)
        return
      case FrameType.GOAWAY:
        this.#failure ??= new Error(`GOAWAY, code ${payload.readUInt32BE(4)}`)
        return
    }
    if ((type === FrameType.DATA || type === FrameType.HEADERS) && (flags & Flag.END_STREAM) !== 0) {
      this.#end(streamId, true)
    }
  }

  #data(id: number, payload: Buffer): void {
    const size = payload.length
    this.#connectionCredit += size
    if (this.#connectionCredit > 1024 * 1024) {
      this.#socket.write(windowUpdate(0, this.#connectionCredit))
      this.#connectionCredit = 0
    }
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    stream.bytes += size
    this.#tokens += size / stream.tokenBytes
    if (!this.#stalled) {
      const credit = (this.#uncredited.get(id) ?? 0) + size
      if (credit > CREDIT) this.#socket.write(windowUpdate(id, credit))
      this.#uncredited.set(id, credit > CREDIT ? 0 : credit)
    }
    if (stream.onLatency !== undefined) this.#stamps(stream, payload, stream.onLatency)
  }

  #stamps(stream: Open, payload: Buffer, onLatency: (micros: number) => void): void {
    const now = nowMicros()
    const bytes = stream.partial === undefined ? payload : Buffer.concat([stream.partial, payload])
    let at = 0
    for (; at + TOKEN_BYTES <= bytes.length; at += TOKEN_BYTES) {
      stream.read += TOKEN_BYTES
      onLatency(now - readStamp(bytes, at))
    }
    stream.partial = at === bytes.length ? undefined : Buffer.from(bytes.subarray(at))
  }

  #end(id: number, clean: boolean): void {
    const stream = this.#streams.get(id)
    if (stream === undefined) return
    this.#streams.delete(id)
    this.#uncredited.delete(id)
    const complete = clean && stream.bytes === stream.expected
    if (complete) this.completed += 1
    else this.broken += 1
    stream.onEnd?.(complete)
  }
}
