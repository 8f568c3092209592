import type { FieldList } from "./headerBlock.ts"
import { HpackEncoder } from "./hpack/HpackEncoder.ts"
import { type Output, putHead } from "./output.ts"
import { DEFAULT_MAX_FRAME, DEFAULT_WINDOW, Flag, FrameType, HEAD_BYTES } from "./protocol.ts"
import type { Http2Stream } from "./stream.ts"
import { StreamList } from "./streamList.ts"

/** Bytes that may wait for the socket; beyond them streams wait, and their writers hear it. */
const OUTPUT_BYTES = 65_536

/** What the sender tells the connection. */
export interface SenderHost {
  /** The time of the last tick. */
  readonly now: number
  /** END_STREAM of a stream has left. */
  onLocalEnd(stream: Http2Stream): void
  /** So much waits for the socket that it should be given some now, and not at the end of the turn. */
  onPressure(): void
}

/**
 * Who may send, and how much: the windows of the peer (RFC 9113 §6.9), the room in the output, and fair turns among the
 * streams that wait for either, one frame a turn.
 */
export class Sender {
  readonly #host: SenderHost
  readonly #output: Output
  readonly encoder = new HpackEncoder()
  /** The connection's window (§6.9.1). */
  window = DEFAULT_WINDOW
  /** Streams that wait for room in the output. */
  readonly #ready = new StreamList()
  /** Streams that wait for the connection's window. */
  readonly #starved = new StreamList()
  #pumping = false

  constructor(output: Output, host: SenderHost) {
    this.#output = output
    this.#host = host
  }

  /** `true`: `bytes` have left as one frame. Only for a stream on which nothing waits. */
  sendNow(stream: Http2Stream, bytes: Uint8Array): boolean {
    const { length } = bytes
    const output = this.#output
    if (
      stream.id === 0 || stream.head !== undefined || length > stream.sendWindow || length > this.window ||
      length > DEFAULT_MAX_FRAME || output.size >= OUTPUT_BYTES
    ) return false
    output.data(stream.id, 0, bytes, 0, length)
    stream.sendWindow -= length
    this.window -= length
    if (output.waiting >= OUTPUT_BYTES) this.#host.onPressure()
    return true
  }

  /** Something of this stream wants to leave: it does, as far as it may, and waits its turn for the rest. */
  submit(stream: Http2Stream): void {
    if (stream.id === 0 || stream.list !== undefined) return
    if (this.#output.size >= OUTPUT_BYTES) {
      this.#ready.add(stream)
      return
    }
    this.#ready.add(stream)
    this.pump()
  }

  /** The stream is over. */
  forget(stream: Http2Stream): void {
    stream.list?.remove(stream)
  }

  /** The connection's window has grown. */
  windowOpened(): void {
    this.#ready.takeAll(this.#starved)
    this.pump()
  }

  /** Gives each that waits its turn, until there is no room any more. */
  pump(): void {
    if (this.#pumping) return
    this.#pumping = true
    const output = this.#output
    for (let stream = this.#ready.first; stream !== undefined; stream = this.#ready.first) {
      if (output.size >= OUTPUT_BYTES) {
        this.#host.onPressure()
        if (output.size >= OUTPUT_BYTES) break
      }
      this.#ready.remove(stream)
      this.#turn(stream)
    }
    this.#pumping = false
  }

  /** One frame of a stream, and then the place that it has earned. */
  #turn(stream: Http2Stream): void {
    if (stream.closed) return
    if (stream.head !== undefined) this.#head(stream)
    const { outbox } = stream
    if (outbox !== undefined && outbox.size > 0) {
      if (stream.sendWindow <= 0) return
      if (this.window <= 0) return this.#starved.add(stream)
      const block = outbox.first()
      if (block === undefined) return
      const size = Math.min(block.length, stream.sendWindow, this.window, DEFAULT_MAX_FRAME)
      const last = stream.ending && stream.trailers === undefined && size === outbox.size
      this.#output.data(stream.id, last ? Flag.END_STREAM : Flag.NONE, block, 0, size)
      stream.sendWindow -= size
      this.window -= size
      stream.movedAt = this.#host.now
      outbox.drop(size)
      if (last) return this.#host.onLocalEnd(stream)
      if (outbox.size > 0) return this.#ready.add(stream)
    }
    if (stream.ending && !stream.localEnd) this.#end(stream)
    else stream.drained()
  }

  #head(stream: Http2Stream): void {
    const fields = stream.head ?? []
    const whole = stream.ending && stream.trailers === undefined && stream.pendingBytes === 0
    stream.head = undefined
    this.#block(stream.id, fields, whole ? Flag.END_STREAM : Flag.NONE)
    if (whole) this.#host.onLocalEnd(stream)
  }

  #end(stream: Http2Stream): void {
    const { trailers } = stream
    if (trailers !== undefined) this.#block(stream.id, trailers, Flag.END_STREAM)
    else if (!this.#output.endLastData(stream.id)) {
      this.#output.head(0, FrameType.DATA, Flag.END_STREAM, stream.id)
    }
    this.#host.onLocalEnd(stream)
  }

  /** HEADERS (§6.2), and CONTINUATION (§6.10) where one frame is too short. */
  #block(id: number, fields: FieldList, flags: number): void {
    const output = this.#output
    const bound = HpackEncoder.bound(fields)
    if (bound > DEFAULT_MAX_FRAME || bound + HEAD_BYTES > output.pool.slabBytes) {
      return this.#longBlock(id, fields, bound, flags)
    }
    const slab = output.reserve(HEAD_BYTES + bound)
    const from = slab.used + HEAD_BYTES
    const length = this.encoder.encode(fields, slab.bytes, from, fields.sensitive) - from
    putHead(slab.bytes, slab.used, length, FrameType.HEADERS, flags | Flag.END_HEADERS, id)
    output.wrote(slab, HEAD_BYTES + length)
  }

  #longBlock(id: number, fields: FieldList, bound: number, flags: number): void {
    const block = new Uint8Array(bound)
    const length = this.encoder.encode(fields, block, 0, fields.sensitive)
    let type: number = FrameType.HEADERS
    let given = flags
    let at = 0
    do {
      const size = Math.min(length - at, DEFAULT_MAX_FRAME)
      this.#output.head(size, type, at + size === length ? given | Flag.END_HEADERS : given, id)
      this.#output.append(block, at, at + size)
      type = FrameType.CONTINUATION
      given = Flag.NONE
      at += size
    } while (at < length)
  }
}
