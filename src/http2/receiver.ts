import { Budget, type LimitName, type Rates } from "./budget.ts"
import type { Copies } from "./copies.ts"
import { DataRun } from "./dataRun.ts"
import { FrameReader, type FrameSink } from "./frameReader.ts"
import { type HeaderBlock, isRequest, isResponse, isTrailers } from "./headerBlock.ts"
import { BlockState, HeaderReader } from "./headerReader.ts"
import { LookAhead } from "./lookAhead.ts"
import type { Output } from "./output.ts"
import { DEFAULT_WINDOW, ErrorCode, Flag, FrameType, MAX_WINDOW } from "./protocol.ts"
import type { LocalSettings } from "./settings.ts"
import type { Http2Stream } from "./stream.ts"
import type { Streams } from "./streams.ts"
import { Gone } from "./streamStore.ts"

/** Windows that are moved for one unit of a turn. */
const STREAMS_A_UNIT = 8

/** What the receiver needs of its connection. */
export interface ReceiverHost {
  readonly role: "client" | "server"
  readonly output: Output
  readonly over: boolean
  /** The highest stream that our GOAWAY lets in. */
  readonly lastTaken: number
  /** A connection error (RFC 9113 §5.4.1). */
  abort(code: number, detail: string): void
  /** A limit bit; {@link ReceiverHost.abort} follows. */
  onLimit(limit: LimitName): void
  onSettings(bytes: Uint8Array, at: number, length: number): void
  onSettingsAck(): void
  onPingAck(number: number): void
  onGoaway(last: number, code: number, debug: Uint8Array): void
}

/** Takes the frames that come, in all states in which they can come (§5.1, §6), within the peer's budget. */
export class Receiver implements FrameSink {
  readonly headers: HeaderReader
  readonly budget: Budget
  readonly #host: ReceiverHost
  readonly #output: Output
  readonly #streams: Streams
  readonly #settings: LocalSettings
  readonly #client: boolean
  readonly #reader: FrameReader
  readonly #run: DataRun
  readonly #lookAhead: LookAhead
  readonly #window: number
  #recvWindow = DEFAULT_WINDOW
  #recvCredit: number
  /** The peer's SETTINGS have come, which must be first (§3.4). */
  #greeted = false
  /** The stream whose header block is being put together. */
  #blockId = 0
  /** The stream of the DATA frame that is being read; `undefined`: its bytes are dropped. */
  #dataStream: Http2Stream | undefined
  #dataFlags = 0
  #dataLength = 0

  /** `window`: bytes that the peer may send on all streams together. */
  constructor(
    host: ReceiverHost,
    streams: Streams,
    settings: LocalSettings,
    rates: Rates,
    window: number,
    copies: Copies
  ) {
    this.#host = host
    this.#client = host.role === "client"
    this.#output = host.output
    this.#streams = streams
    this.#settings = settings
    this.budget = new Budget(rates)
    this.headers = new HeaderReader(settings.maxHeaderList)
    this.#reader = new FrameReader(this)
    this.#run = new DataRun(copies)
    this.#lookAhead = new LookAhead(streams.store)
    this.#window = window
    this.#recvCredit = window - DEFAULT_WINDOW
  }

  get over(): boolean {
    return this.#host.over
  }

  get greeted(): boolean {
    return this.#greeted
  }

  /** Opens the connection's window to its size; once, behind our SETTINGS. */
  openWindow(): void {
    if (this.#recvCredit > 0) this.#reopen()
  }

  /**
   * Reads `from..to` of `chunk`, and answers where it has stopped: see {@link FrameReader.read}. `lent`: nothing of the chunk may
   * be kept.
   */
  receive(chunk: Uint8Array, from: number, to: number, lent: boolean): number {
    this.#run.lent = lent
    const at = this.#reader.read(chunk, from, to)
    this.#run.flush()
    return at
  }

  /** A new turn of the event loop. */
  turn(): void {
    this.#reader.turn()
  }

  /** Hands up what was read. */
  flush(): void {
    this.#run.flush()
  }

  onAhead(chunk: Uint8Array, at: number, end: number): number {
    return this.#lookAhead.look(chunk, at, end)
  }

  onReadError(code: number, detail: string): void {
    this.#host.abort(code, detail)
  }

  onUnknown(): void {
    if (!this.#greeted) this.#notSettings()
    else if (--this.budget.ignoredFrames < 0) this.#exceeded("ignored_frames")
  }

  onFrame(type: number, flags: number, id: number, bytes: Uint8Array, at: number, length: number): void {
    if (!this.#greeted && (type !== FrameType.SETTINGS || (flags & Flag.ACK) !== 0)) return this.#notSettings()
    switch (type) {
      case FrameType.HEADERS:
        if (id === 0) return this.#protocol("HEADERS on stream 0")
        if (!this.#caughtUp()) return
        this.#blockId = id
        return this.#onBlock(this.headers.headers(flags, bytes, at, length))
      case FrameType.CONTINUATION:
        if (this.#blockId === 0) return this.#protocol("CONTINUATION without HEADERS")
        return this.#onBlock(this.headers.continuation(flags, bytes, at, length))
      case FrameType.WINDOW_UPDATE:
        return length === 4 ? this.#onWindowUpdate(id, read32(bytes, at) & 0x7fffffff) : this.#size("WINDOW_UPDATE")
      case FrameType.RST_STREAM:
        return length === 4 ? this.#onReset(id, read32(bytes, at) >>> 0) : this.#size("RST_STREAM")
      case FrameType.SETTINGS:
        return this.#onSettings(flags, id, bytes, at, length)
      case FrameType.PING:
        return length === 8 ? this.#onPing(flags, id, bytes, at) : this.#size("PING")
      case FrameType.GOAWAY:
        return length >= 8 ? this.#onGoaway(id, bytes, at, length) : this.#size("GOAWAY")
      case FrameType.PRIORITY:
        if (id === 0) return this.#protocol("PRIORITY on stream 0")
        if (length !== 5) return this.#size("PRIORITY")
        if (--this.budget.ignoredFrames < 0) this.#exceeded("ignored_frames")
        return
      default:
        return this.#protocol("PUSH_PROMISE, which nobody asked for")
    }
  }

  onDataHead(flags: number, id: number, length: number): void {
    if (!this.#greeted) return this.#notSettings()
    this.#dataFlags = flags
    this.#dataLength = length
    this.#dataStream = undefined
    this.#recvWindow -= length
    if (this.#recvWindow < 0) {
      return this.#host.abort(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
    }
    this.#recvCredit += length
    if (this.#recvCredit * 2 >= this.#window) this.#reopen()
    if (length === 0 && (flags & Flag.END_STREAM) === 0 && --this.budget.emptyData < 0) {
      return this.#exceeded("empty_data")
    }
    const stream = this.#streams.store.get(id)
    if (stream === undefined) return this.#stray(id, "DATA")
    if (stream.remoteEnd) return this.#streamError(stream, ErrorCode.STREAM_CLOSED)
    // A response begins with its head (§8.1).
    if (this.#client && !stream.headed) return this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
    // Below zero after our SETTINGS (§6.9.2) an empty frame is still allowed.
    if (length > 0 && length > stream.recvWindow) return this.#streamError(stream, ErrorCode.FLOW_CONTROL_ERROR)
    stream.recvWindow -= length
    this.#dataStream = stream
  }

  onDataPart(chunk: Uint8Array, from: number, to: number): void {
    const stream = this.#dataStream
    if (stream === undefined || stream.closed) return
    const size = to - from
    this.#dataLength -= size
    if (stream.announced >= 0) {
      stream.announced -= size
      if (stream.announced < 0) return this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
    }
    this.#run.add(stream, chunk, from, to)
  }

  onDataEnd(): void {
    const stream = this.#dataStream
    if (stream === undefined) return
    this.#dataStream = undefined
    // What is left is padding: taken at once. Nothing else may ever come to give its window back.
    if (this.#dataLength > 0) {
      stream.recvCredit += this.#dataLength
      if (!stream.closed && (this.#dataFlags & Flag.END_STREAM) === 0) this.#streams.reopen(stream)
    }
    if ((this.#dataFlags & Flag.END_STREAM) === 0 || !this.#caughtUp() || stream.closed) return
    this.#remoteEnd(stream, undefined)
  }

  #onBlock(state: number): void {
    const id = this.#blockId
    switch (state) {
      case BlockState.MORE:
        this.#reader.continuation = id
        return
      case BlockState.TOO_LONG:
        return this.#exceeded("header_block")
      case BlockState.PADDING:
        return this.#protocol("the padding of HEADERS is longer than its payload")
      case BlockState.SHORT:
        return this.#size("HEADERS")
      case BlockState.COMPRESSION:
        return this.#host.abort(ErrorCode.COMPRESSION_ERROR, "a header block could not be decoded")
      default:
    }
    this.#reader.continuation = 0
    this.#blockId = 0
    const { block } = this.headers
    const stream = this.#streams.store.get(id)
    if (stream !== undefined) this.#onLaterBlock(stream, block)
    else if (this.#client || (id & 1) === 0 || id <= this.#streams.lastPeerId) this.#stray(id, "HEADERS")
    else this.#onRequest(id, block)
  }

  #onRequest(id: number, block: HeaderBlock): void {
    const streams = this.#streams
    streams.lastPeerId = id
    const refused = streams.store.size >= this.#settings.maxStreams || id > this.#host.lastTaken
    // A list that was cut short may lack what makes it a request: the layer above says that it is too long.
    if (!refused && (block.tooLarge ? !block.malformed : isRequest(block))) {
      const stream = streams.arrive(id, block)
      if (block.endStream) this.#remoteEnd(stream, undefined)
      return
    }
    if (--this.budget.madeResets < 0) return this.#exceeded("made_resets")
    const code = refused ? ErrorCode.REFUSED_STREAM : ErrorCode.PROTOCOL_ERROR
    this.#output.frame32(FrameType.RST_STREAM, id, code)
    // What is under way on it is no fault.
    streams.store.remember(id, Gone.RESET_BY_US)
  }

  /** A response, interim or final, or trailers. */
  #onLaterBlock(stream: Http2Stream, block: HeaderBlock): void {
    if (stream.remoteEnd) return this.#streamError(stream, ErrorCode.STREAM_CLOSED)
    if (block.tooLarge) return this.#streamError(stream, ErrorCode.ENHANCE_YOUR_CALM)
    if (!this.#client || stream.headed) {
      if (block.endStream && isTrailers(block)) this.#remoteEnd(stream, block)
      else this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
      return
    }
    const interim = block.status < 200
    if (!isResponse(block) || (interim && (block.endStream || block.status === 101))) {
      return this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
    }
    if (interim) {
      if (--this.budget.ignoredFrames < 0) this.#exceeded("ignored_frames")
      return
    }
    stream.headed = true
    stream.announced = block.contentLength
    stream.handler?.onHeaders(block)
    if (block.endStream && !stream.closed) this.#remoteEnd(stream, undefined)
  }

  #onWindowUpdate(id: number, increment: number): void {
    if (--this.budget.windowUpdates < 0) return this.#exceeded("window_updates")
    if (id === 0) return this.#onConnectionWindow(increment)
    const stream = this.#streams.store.get(id)
    if (stream === undefined) return this.#stray(id, "WINDOW_UPDATE")
    if (increment === 0) return this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
    if (stream.sendWindow + increment > MAX_WINDOW) return this.#streamError(stream, ErrorCode.FLOW_CONTROL_ERROR)
    this.#streams.widen(stream, increment)
  }

  #onConnectionWindow(increment: number): void {
    if (increment === 0) return this.#protocol("WINDOW_UPDATE by 0")
    const { sender } = this.#streams
    const before = sender.window
    if (before + increment > MAX_WINDOW) {
      return this.#host.abort(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE beyond the largest window")
    }
    sender.window = before + increment
    if (before <= 0) sender.windowOpened()
  }

  #onReset(id: number, code: number): void {
    if (id === 0) return this.#protocol("RST_STREAM on stream 0")
    if (!this.#caughtUp()) return
    const stream = this.#streams.store.get(id)
    if (stream === undefined) return this.#stray(id, "RST_STREAM")
    if (!this.#client && --this.budget.resets < 0) return this.#exceeded("resets")
    const refused = this.#client && code === ErrorCode.REFUSED_STREAM && !stream.headed
    this.#streams.fail(stream, code, refused ? "refused" : "peer", Gone.RESET_BY_PEER)
  }

  #onSettings(flags: number, id: number, bytes: Uint8Array, at: number, length: number): void {
    if (id !== 0) return this.#protocol("SETTINGS on a stream")
    if ((flags & Flag.ACK) !== 0) {
      if (length !== 0) return this.#size("acknowledgement of SETTINGS")
      if (--this.budget.settings < 0) return this.#exceeded("settings")
      return this.#host.onSettingsAck()
    }
    if (length % 6 !== 0) return this.#size("SETTINGS")
    if (--this.budget.settings < 0) return this.#exceeded("settings")
    this.#greeted = true
    // They may move the window of each stream.
    this.#reader.spend(this.#streams.store.size / STREAMS_A_UNIT)
    this.#host.onSettings(bytes, at, length)
  }

  #onPing(flags: number, id: number, bytes: Uint8Array, at: number): void {
    if (id !== 0) return this.#protocol("PING on a stream")
    if (--this.budget.pings < 0) return this.#exceeded("pings")
    if ((flags & Flag.ACK) !== 0) return this.#host.onPingAck(read32(bytes, at + 4))
    this.#output.head(8, FrameType.PING, Flag.ACK, 0)
    this.#output.append(bytes, at, at + 8)
  }

  #onGoaway(id: number, bytes: Uint8Array, at: number, length: number): void {
    if (id !== 0) return this.#protocol("GOAWAY on a stream")
    if (!this.#caughtUp()) return
    if (--this.budget.settings < 0) return this.#exceeded("settings")
    const debug = bytes.subarray(at + 8, at + length)
    this.#host.onGoaway(read32(bytes, at) & 0x7fffffff, read32(bytes, at + 4) >>> 0, debug)
  }

  #remoteEnd(stream: Http2Stream, trailers: HeaderBlock | undefined): void {
    if (stream.announced > 0) this.#streamError(stream, ErrorCode.PROTOCOL_ERROR)
    else this.#streams.remoteEnd(stream, trailers)
  }

  /** Hands up the DATA that came before this frame; `false`: that has ended the connection. */
  #caughtUp(): boolean {
    this.#run.flush()
    return !this.#host.over
  }

  #reopen(): void {
    const credit = this.#recvCredit
    this.#recvCredit = 0
    this.#recvWindow += credit
    this.#output.frame32(FrameType.WINDOW_UPDATE, 0, credit)
  }

  /** A stream error (§5.4.2): the peer made us reset it. */
  #streamError(stream: Http2Stream, code: number): void {
    if (!this.#caughtUp() || stream.closed) return
    if (--this.budget.madeResets < 0) return this.#exceeded("made_resets")
    this.#output.frame32(FrameType.RST_STREAM, stream.id, code)
    this.#streams.fail(stream, code, "local", Gone.RESET_BY_US)
  }

  /** A frame on a stream that is not open: idle, or gone (§5.1). */
  #stray(id: number, what: string): void {
    if (!this.#streams.wasOpened(id)) return this.#protocol(`${what} on a stream that was never opened`)
    if (--this.budget.strayFrames < 0) return this.#exceeded("stray_frames")
    const how = this.#streams.store.howGone(id)
    if (what === "HEADERS" && !this.#client) {
      if (how === Gone.ENDED) return this.#host.abort(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that has ended")
      if (how === Gone.UNKNOWN) return this.#protocol("HEADERS on a stream with a lower number than the last")
    }
    // Window updates and resets cross with our own end; what comes after our reset was under way.
    if (what === "WINDOW_UPDATE" || what === "RST_STREAM" || how === Gone.RESET_BY_US || how === Gone.UNKNOWN) return
    if (--this.budget.madeResets < 0) return this.#exceeded("made_resets")
    this.#output.frame32(FrameType.RST_STREAM, id, ErrorCode.STREAM_CLOSED)
  }

  #protocol(detail: string): void {
    this.#host.abort(ErrorCode.PROTOCOL_ERROR, detail)
  }

  #size(what: string): void {
    this.#host.abort(ErrorCode.FRAME_SIZE_ERROR, `${what} of a wrong length`)
  }

  #notSettings(): void {
    this.#protocol("the first frame was not SETTINGS")
  }

  #exceeded(limit: LimitName): void {
    this.#host.onLimit(limit)
    this.#host.abort(ErrorCode.ENHANCE_YOUR_CALM, `too much: ${limit}`)
  }
}

const read32 = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)
