import { defaultRates, type LimitName } from "./budget.ts"
import {
  type CloseReason,
  type ConnectionHandler,
  type ConnectionOptions,
  defaultSettings,
  type Transport
} from "./connectionTypes.ts"
import { ownCopy } from "./copies.ts"
import type { FieldList } from "./headerBlock.ts"
import { Keepalive } from "./keepalive.ts"
import { Output } from "./output.ts"
import { Pings } from "./pings.ts"
import { type Foreign, http1Answer, PrefaceReader } from "./preface.ts"
import { DEFAULT_TABLE, DEFAULT_WINDOW, ErrorCode, Flag, FrameType, MAX_WINDOW, PREFACE } from "./protocol.ts"
import { Receiver, type ReceiverHost } from "./receiver.ts"
import { type LocalSettings, PeerSettings, settingsFrame } from "./settings.ts"
import type { Http2Stream, StreamHandler } from "./stream.ts"
import { Streams, type StreamsHost } from "./streams.ts"

/** Output that may wait for a peer that does not read, beyond what the streams may have there. */
const MAX_OUTPUT_BYTES = 1 << 20
/** What is taken and given of the text in GOAWAY. */
const DEBUG_BYTES = 256
/** How long a client has to acknowledge the first of two GOAWAYs. */
const DRAIN_MILLIS = 1000

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/**
 * One end of an HTTP/2 connection (RFC 9113), without sockets, timers or clocks: bytes in ({@link Http2Connection.receive}),
 * events out ({@link ConnectionHandler}, {@link StreamHandler}); commands in, bytes out ({@link Http2Connection.output}).
 *
 * The driver calls `receive` with each read, `turn` and the writing at the end of an event loop's turn, `tick` now and
 * then, `confirmed` when the socket has taken bytes, and `lost` when it is gone.
 */
export class Http2Connection implements StreamsHost, ReceiverHost {
  readonly role: "client" | "server"
  readonly output: Output
  readonly peer = new PeerSettings()
  /** Closed: nothing is read or sent any more. */
  over = false
  /** The time of the last tick. */
  now: number

  readonly #handler: ConnectionHandler
  readonly #transport: Transport
  readonly #options: ConnectionOptions
  readonly #settings: LocalSettings
  readonly #streams: Streams
  readonly #receiver: Receiver
  readonly #preface: PrefaceReader | undefined
  readonly #pings = new Pings()
  readonly #keepalive: Keepalive
  readonly #bornAt: number
  #begun = false
  #ready = false
  readonly #settingsSent = new Pings()
  #settingsAcknowledged = false
  /** The last stream that our GOAWAY named; −1: none was sent. */
  #goawaySent = -1
  /** When the first of two GOAWAYs went out; −1: not at all, or the second has followed. */
  #drainAt = -1
  /** The code of the peer's GOAWAY; −1: none came. */
  #goawayCode = -1

  /** What has come and is not read. */
  #unread: Array<Uint8Array> = []

  constructor(options: ConnectionOptions, transport: Transport, handler: ConnectionHandler) {
    this.role = options.role
    this.now = options.now
    this.#bornAt = options.now
    this.#options = options
    this.#handler = handler
    this.#transport = transport
    this.#settings = { ...defaultSettings, ...options.settings }
    this.#keepalive = new Keepalive(options.now, options.keepaliveMillis ?? 0, options.keepaliveTimeoutMillis ?? 20_000)
    this.output = new Output(options.pool, () => transport.onOutput())
    this.#streams = new Streams(this, transport, handler, this.#settings)
    this.#receiver = new Receiver(
      this,
      this.#streams,
      this.#settings,
      { ...defaultRates, ...options.rates },
      Math.max(DEFAULT_WINDOW, options.connectionWindow ?? 1 << 20),
      options.copies
    )
    this.#preface = options.role === "server" ? new PrefaceReader() : undefined
    this.#settingsSent.next(() => this.#settingsInForce())
    if (options.role === "client") this.#begin()
  }

  /** Streams that are open, those that wait for a place or to be handed up included. */
  get openStreams(): number {
    return this.#streams.count
  }

  /** No new stream can be opened: closed, or one side has said GOAWAY. */
  get goingAway(): boolean {
    return this.over || this.#goawayCode >= 0 || this.#goawaySent >= 0
  }

  /** Requests that wait to be handed up. */
  get arrivals(): number {
    return this.#streams.arrivals
  }

  /** PINGs of ours that the peer has not acknowledged. */
  get pendingPings(): number {
    return this.#pings.pending
  }

  /** Bytes wait for the next turn, since this one has seen enough: no more should be brought. */
  get unread(): boolean {
    return this.#unread.length > 0
  }

  /** Takes bytes as they come. They are the connection's from now on, and may be moved within the chunk. */
  receive(chunk: Uint8Array): void {
    this.#take(chunk, chunk.length, false)
  }

  /**
   * The same with the first `length` bytes of memory that is read into again when this returns. For few of them: what is
   * handed up is copied, stream by stream.
   */
  receiveLent(memory: Uint8Array, length: number): void {
    this.#take(memory, length, true)
  }

  /**
   * Reads on where the last turn stopped, and hands up requests that have come, at most `limit`; answers whether something is
   * left for the next turn.
   */
  turn(limit: number): boolean {
    this.#receiver.turn()
    if (this.#unread.length > 0) this.#readOn()
    return this.#streams.turn(limit) || this.#unread.length > 0
  }

  /** The socket has taken bytes: there is room for more. */
  confirmed(bytes: number): void {
    this.output.confirm(bytes)
    if (!this.over) this.#streams.sender.pump()
  }

  /** Time has passed; to be called about twice a second. `now`: monotonic milliseconds. */
  tick(now: number): void {
    if (this.over) return
    this.#receiver.budget.refill((now - this.now) / 1000)
    this.now = now
    if (!(this.#ready && this.#settingsAcknowledged) && now - this.#bornAt > (this.#options.settingsMillis ?? 10_000)) {
      return this.abort(ErrorCode.SETTINGS_TIMEOUT, "the peer's SETTINGS, or its acknowledgement, did not come in time")
    }
    if (this.output.size > MAX_OUTPUT_BYTES) {
      this.onLimit("unread_output")
      return this.abort(ErrorCode.ENHANCE_YOUR_CALM, "the peer does not read")
    }
    this.#streams.tick(this.#options.lingerMillis ?? 1000, this.#options.stallMillis ?? 0)
    if (this.#drainAt >= 0 && now - this.#drainAt > DRAIN_MILLIS) this.goAway()
    const due = this.#keepalive.tick(now)
    if (due === "ask") this.ping()
    else if (due === "gone") this.abort(ErrorCode.NO_ERROR, "the peer does not answer PING")
  }

  /** The socket is gone; what it had brought by then counts. */
  lost(detail: string): void {
    while (this.#unread.length > 0) {
      this.#receiver.turn()
      this.#readOn()
    }
    const code = this.#goawayCode
    this.#close({ code: Math.max(0, code), by: code >= 0 ? "peer" : "transport", detail })
  }

  /**
   * A client opens a stream. `head`: the request's fields, pseudo-header fields first. Over the peer's limit of streams
   * it waits until one ends. `undefined`: the connection takes no new streams.
   */
  open(head: FieldList, handler: StreamHandler): Http2Stream | undefined {
    return this.goingAway ? undefined : this.#streams.open(head, handler)
  }

  /** Asks whether the peer is there (§6.7); `onAck`: it is. Nobody is told when it is not. */
  ping(onAck?: () => void): void {
    if (this.over) return
    this.#begin()
    const number = this.#pings.next(onAck)
    this.output.head(8, FrameType.PING, Flag.NONE, 0)
    this.output.append(words(0, number))
  }

  /** Asks the same by SETTINGS without an entry, which has to be acknowledged too (§6.5.3). */
  askBySettings(onAck: () => void): void {
    if (this.over) return
    this.#begin()
    this.#settingsSent.next(onAck)
    this.output.head(0, FrameType.SETTINGS, Flag.NONE, 0)
  }

  /**
   * Takes no new streams, lets the open ones end, then closes. A client hears it twice (§6.8), so that streams which are
   * under way are still served.
   */
  drain(): void {
    if (this.over || this.#goawaySent >= 0) return
    if (this.role === "client" || !this.#ready) return this.goAway()
    this.#goaway(MAX_WINDOW, ErrorCode.NO_ERROR, "")
    this.#drainAt = this.now
    this.ping(() => this.goAway())
  }

  /** Like {@link Http2Connection.drain}, but said once: streams that are under way are refused. */
  goAway(): void {
    if (this.over) return
    this.#drainAt = -1
    this.#goaway(this.#streams.lastPeerId, ErrorCode.NO_ERROR, "")
    this.#finishIfIdle()
  }

  /** A connection error (§5.4.1): GOAWAY, and every stream ends now. */
  abort(code: number, detail: string): void {
    if (this.over) return
    this.#goaway(this.#streams.lastPeerId, code, detail)
    this.#close({ code, by: "us", detail })
  }

  // What the parts of the connection call.

  get lastTaken(): number {
    return this.#goawaySent < 0 ? MAX_WINDOW : this.#goawaySent
  }

  onLimit(limit: LimitName): void {
    this.#handler.onLimit(limit)
  }

  onSettings(bytes: Uint8Array, at: number, length: number): void {
    const { peer } = this
    const streams = this.#streams
    const window = peer.initialWindow
    const error = peer.read(bytes, at, length, this.role)
    if (error !== 0) return this.abort(error, "a value in SETTINGS is not allowed")
    streams.sender.encoder.setPeerMaxTableSize(peer.lowestTable)
    streams.sender.encoder.setPeerMaxTableSize(peer.headerTable)
    this.output.head(0, FrameType.SETTINGS, Flag.ACK, 0)
    if (peer.initialWindow !== window && !streams.shiftSendWindows(peer.initialWindow - window)) {
      return this.abort(ErrorCode.FLOW_CONTROL_ERROR, "SETTINGS make a window larger than the largest")
    }
    streams.recallUnsent()
    streams.startWaiting()
    if (this.#ready || this.over) return
    this.#ready = true
    this.#handler.onReady()
  }

  onSettingsAck(): void {
    this.#settingsSent.acknowledge()
  }

  onPingAck(number: number): void {
    this.#pings.acknowledge(number)
  }

  onGoaway(last: number, code: number, debug: Uint8Array): void {
    this.#goawayCode = code
    this.#handler.onGoaway(code, last, decoder.decode(debug.subarray(0, DEBUG_BYTES)))
    if (this.role === "client") this.#streams.refuseAbove(last)
    this.#finishIfIdle()
  }

  onLastStream(): void {
    this.#handler.onIdle()
    this.#finishIfIdle()
  }

  /** Our SETTINGS are acknowledged (§6.5.3). */
  #settingsInForce(): void {
    this.#settingsAcknowledged = true
    this.#streams.settingsInForce()
    const { headerTable } = this.#settings
    if (headerTable !== DEFAULT_TABLE) this.#receiver.headers.decoder.setMaxTableSize(headerTable)
  }

  #foreign(what: Foreign): void {
    this.#handler.onForeign(what)
    if (what === "http1") this.output.append(http1Answer(this.#options.http1Text ?? "This port speaks HTTP/2."))
    else if (what === "other") this.#goaway(0, ErrorCode.PROTOCOL_ERROR, "not HTTP/2")
    this.#close({ code: ErrorCode.PROTOCOL_ERROR, by: "us", detail: `the peer does not speak HTTP/2 (${what})` })
  }

  #take(chunk: Uint8Array, length: number, lent: boolean): void {
    if (this.over) return
    this.#keepalive.heard = true
    if (this.#unread.length > 0) return this.#keep(chunk, 0, length, lent)
    let from = 0
    if (this.#preface?.done === false) {
      const read = this.#preface.read(chunk, length)
      if (typeof read === "string") return this.#foreign(read)
      from = read
      if (this.#preface.done) this.#begin()
    }
    this.#read(chunk, from, length, lent)
    // Where requests wait, too, the turn has been asked for.
    if (this.#unread.length > 0 && this.arrivals === 0) this.#transport.onArrivals()
  }

  #read(chunk: Uint8Array, from: number, to: number, lent: boolean): void {
    const at = this.#receiver.receive(chunk, from, to, lent)
    if (at < to && !this.over) this.#keep(chunk, at, to, lent)
  }

  #keep(chunk: Uint8Array, from: number, to: number, lent: boolean): void {
    this.#unread.push(lent ? ownCopy(chunk, from, to) : chunk.subarray(from, to))
  }

  /** Reads what waits, as much of it as a turn may. */
  #readOn(): void {
    const waiting = this.#unread
    this.#unread = []
    for (const chunk of waiting) {
      if (this.#unread.length > 0) this.#unread.push(chunk)
      else if (!this.over) this.#read(chunk, 0, chunk.length, false)
    }
  }

  /** Our SETTINGS, before any other frame (§3.4). A server says nothing to a peer that may not speak HTTP/2. */
  #begin(): void {
    if (this.#begun) return
    this.#begun = true
    if (this.role === "client") this.output.append(PREFACE)
    this.output.append(settingsFrame(this.#settings, this.role))
    this.#receiver.openWindow()
  }

  #goaway(lastTaken: number, code: number, debug: string): void {
    this.#begin()
    // It must not rise (§6.8), whatever was refused since.
    const last = Math.min(lastTaken, this.lastTaken)
    const text = encoder.encode(debug).subarray(0, DEBUG_BYTES)
    this.output.head(8 + text.length, FrameType.GOAWAY, Flag.NONE, 0)
    this.output.append(words(last, code))
    this.output.append(text)
    this.#goawaySent = last
  }

  /** After a GOAWAY, ours or the peer's, the connection ends with its last stream. */
  #finishIfIdle(): void {
    if (this.over || this.openStreams > 0) return
    const byPeer = this.#goawayCode >= 0
    if (!byPeer && (this.#goawaySent < 0 || this.#drainAt >= 0)) return
    if (this.#goawaySent < 0) this.#goaway(this.#streams.lastPeerId, ErrorCode.NO_ERROR, "")
    this.#close({ code: Math.max(0, this.#goawayCode), by: byPeer ? "peer" : "us", detail: "went away" })
  }

  #close(reason: CloseReason): void {
    if (this.over) return
    this.over = true
    this.#receiver.flush()
    this.#streams.failAll(reason.code)
    this.#transport.onEnd()
    this.#handler.onClose(reason)
  }
}

/** Two numbers of 32 bits. */
const words = (one: number, two: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, one)
  view.setUint32(4, two)
  return bytes
}
