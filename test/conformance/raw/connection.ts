import type * as net from "node:net"
import { type Deferred, deferred, Recorder } from "../../support/events.ts"
import { Cutter } from "../../support/protobuf.ts"
import {
  Flag,
  type Frame,
  FrameReader,
  FrameType,
  ping,
  PREFACE,
  rstStream,
  settingsAck,
  uint31,
  windowUpdate
} from "./frames.ts"
import { HpackDecoder } from "./hpack.ts"

/** A header block, decoded. */
export type Fields = ReadonlyArray<readonly [name: string, value: string]>

/** The values of a field, joined as HTTP joins them; `undefined` when it is not there. */
export const valueOf = (fields: Fields, name: string): string | undefined => {
  const found = fields.filter(([key]) => key === name).map(([, value]) => value)
  return found.length === 0 ? undefined : found.join(", ")
}

/** One HTTP/2 stream as it was received. */
export class RawStream {
  readonly id: number
  readonly connection: RawConnection
  /** Header blocks in order: headers, informational ones, trailers. */
  readonly blocks = new Recorder<Fields>()
  /** The names in each of them that came marked "never indexed". */
  readonly never: Array<ReadonlySet<string>> = []
  /** The payload of each DATA frame. */
  readonly data = new Recorder<Buffer>()
  /** Completes with the peer's END_STREAM. */
  readonly ended: Deferred<void> = deferred()
  /** Completes with the code of the peer's RST_STREAM. */
  readonly reset: Deferred<number> = deferred()

  constructor(id: number, connection: RawConnection) {
    this.id = id
    this.connection = connection
  }

  /** Completes when the peer sends nothing more: END_STREAM, RST_STREAM, or the connection is gone. */
  get over(): Promise<unknown> {
    return Promise.race([this.ended.promise, this.reset.promise, this.connection.closed.promise])
  }

  get bytes(): Buffer {
    return Buffer.concat(this.data.all)
  }

  /** The whole gRPC messages that came, without their prefixes. */
  get messages(): ReadonlyArray<Buffer> {
    return new Cutter().push(this.bytes).map(({ message }) => message)
  }

  /** Completes when at least `count` bytes of DATA are there. */
  async received(count: number): Promise<void> {
    for (let frames = 1; this.bytes.length < count; frames++) {
      await this.data.count(frames, `${count} bytes on stream ${this.id}, ${this.bytes.length} there; DATA frames`)
    }
  }

  /** A field of the last header block. */
  trailer(name: string): string | undefined {
    return valueOf(this.blocks.all.at(-1) ?? [], name)
  }

  /** The peer says END_STREAM, or with a code RST_STREAM: whoever waits for more is told. */
  end(code?: number): void {
    if (code === undefined) this.ended.resolve()
    else this.reset.resolve(code)
    this.fail(
      new Error(code === undefined ? "the peer has ended the stream" : `the peer has reset the stream (${code})`)
    )
  }

  fail(cause: Error): void {
    this.blocks.fail(cause)
    this.data.fail(cause)
  }
}

export interface RawOptions {
  /** Opens the windows again as soon as something was received; default true. */
  readonly credit?: boolean | undefined
  /** Sends each byte in a write of its own; default false. */
  readonly bytewise?: boolean | undefined
}

/**
 * One side of an HTTP/2 connection in the hands of a test: what is sent is bytes that the test made, what is received is
 * recorded. Acknowledges SETTINGS and PING by itself, and opens windows unless told not to.
 */
export class RawConnection {
  readonly #socket: net.Socket
  readonly #role: "client" | "server"
  readonly #options: RawOptions
  readonly #reader: FrameReader
  readonly #hpack = new HpackDecoder()
  readonly #streams = new Map<number, RawStream>()
  readonly #onStream: (stream: RawStream) => void
  #block: { readonly streamId: number; readonly flags: number; readonly parts: Array<Buffer> } | undefined
  #writes: Promise<void> = Promise.resolve()
  /** Every frame that came. */
  readonly frames = new Recorder<Frame>()
  readonly closed: Deferred<void> = deferred()
  /** Completes with the peer's GOAWAY. */
  readonly goaway: Deferred<{ readonly lastStreamId: number; readonly code: number }> = deferred()

  /** `onStream`: told of each stream that the peer opens, after its first header block. */
  constructor(
    socket: net.Socket,
    role: "client" | "server",
    options: RawOptions = {},
    onStream: (stream: RawStream) => void = () => undefined
  ) {
    this.#socket = socket
    this.#role = role
    this.#options = options
    this.#onStream = onStream
    this.#reader = new FrameReader(role === "server" ? PREFACE.length : 0)
    socket.setNoDelay(true)
    socket.on("data", (chunk: Buffer) => this.#reader.push(chunk, (frame) => this.#hear(frame)))
    socket.on("error", () => socket.destroy())
    socket.once("close", () => {
      const cause = new Error("the connection is closed")
      this.frames.fail(cause)
      for (const stream of this.#streams.values()) stream.fail(cause)
      this.closed.resolve()
    })
  }

  /** Sends bytes as they are; completes when the operating system has them. */
  send(...parts: ReadonlyArray<Uint8Array>): Promise<void> {
    this.#writes = this.#after(this.#writes, Buffer.concat(parts))
    return this.#writes
  }

  /** The record of a stream; one that is still to come, too. */
  stream(id: number): RawStream {
    const known = this.#streams.get(id)
    if (known !== undefined) return known
    const stream = new RawStream(id, this)
    this.#streams.set(id, stream)
    return stream
  }

  reset(id: number, code: number): Promise<void> {
    return this.send(rstStream(id, code))
  }

  /** Completes when the peer has answered a PING: it has handled everything sent before. */
  async settled(mark: string): Promise<void> {
    const payload = Buffer.from(mark.padEnd(8).slice(0, 8))
    await this.send(ping(false, payload))
    await this.frames.first(
      (frame) => frame.type === FrameType.PING && (frame.flags & Flag.ACK) !== 0 && frame.payload.equals(payload),
      "an answer to PING"
    )
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async #after(before: Promise<void>, bytes: Buffer): Promise<void> {
    await before
    if (this.#options.bytewise !== true) return this.#write(bytes)
    for (let at = 0; at < bytes.length; at++) {
      await this.#write(bytes.subarray(at, at + 1))
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve) => {
      if (this.#socket.destroyed) return resolve()
      this.#socket.write(bytes, () => resolve())
    })
  }

  #hear(frame: Frame): void {
    const { type, flags, streamId, payload } = frame
    switch (type) {
      case FrameType.HEADERS:
      case FrameType.CONTINUATION:
        this.#headers(frame)
        break
      case FrameType.DATA: {
        const stream = this.stream(streamId)
        stream.data.push(payload)
        if (this.#options.credit !== false && payload.length > 0) {
          void this.send(windowUpdate(0, payload.length), windowUpdate(streamId, payload.length))
        }
        if ((flags & Flag.END_STREAM) !== 0) stream.end()
        break
      }
      case FrameType.RST_STREAM:
        this.stream(streamId).end(uint31(payload))
        break
      case FrameType.SETTINGS:
        if ((flags & Flag.ACK) === 0) void this.send(settingsAck())
        break
      case FrameType.PING:
        if ((flags & Flag.ACK) === 0) void this.send(ping(true, payload))
        break
      case FrameType.GOAWAY:
        this.goaway.resolve({ lastStreamId: uint31(payload), code: uint31(payload, 4) })
    }
    this.frames.push(frame)
  }

  #headers({ type, flags, streamId, payload }: Frame): void {
    if (type === FrameType.HEADERS) this.#block = { streamId, flags, parts: [] }
    const block = this.#block
    if (block === undefined) throw new Error("CONTINUATION without HEADERS")
    block.parts.push(payload)
    if ((flags & Flag.END_HEADERS) === 0) return
    this.#block = undefined
    const isNew = this.#role === "server" && !this.#streams.has(streamId)
    const stream = this.stream(streamId)
    const fields = this.#hpack.decode(Buffer.concat(block.parts))
    stream.never.push(this.#hpack.never)
    stream.blocks.push(fields)
    if ((block.flags & Flag.END_STREAM) !== 0) stream.end()
    if (isNew) this.#onStream(stream)
  }
}
