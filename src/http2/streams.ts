import type { ConnectionHandler, Transport } from "./connectionTypes.ts"
import type { FieldList, HeaderBlock } from "./headerBlock.ts"
import type { Output } from "./output.ts"
import { DEFAULT_WINDOW, ErrorCode, FrameType, MAX_WINDOW } from "./protocol.ts"
import { Sender, type SenderHost } from "./sender.ts"
import type { LocalSettings, PeerSettings } from "./settings.ts"
import { Http2Stream, type ResetCause, type StreamHandler, type StreamHost } from "./stream.ts"
import { StreamList } from "./streamList.ts"
import { Gone, StreamStore } from "./streamStore.ts"

/** Streams of a lost connection that end in one turn; each may be some ten microseconds of work for the layer above. */
const ENDS_A_TURN = 128

/** What the streams need of their connection. */
export interface StreamsHost {
  readonly role: "client" | "server"
  readonly output: Output
  readonly peer: PeerSettings
  /** Closed: nothing is sent any more. */
  readonly over: boolean
  /** The time of the last tick. */
  readonly now: number
  /** No stream is open any more. */
  onLastStream(): void
}

/** The streams of a connection: how they are opened, handed up, ended and forgotten (RFC 9113 §5). */
export class Streams implements StreamHost, SenderHost {
  readonly role: "client" | "server"
  readonly store = new StreamStore()
  readonly sender: Sender
  readonly #host: StreamsHost
  readonly #transport: Transport
  readonly #handler: ConnectionHandler
  readonly #output: Output
  readonly #settings: LocalSettings
  /** What a new stream may receive: until our SETTINGS are acknowledged the peer may go by the default (§6.5.3). */
  #recvInitial: number
  /** The identifier that a client's next stream gets. */
  #nextId = 1
  /** The highest identifier that the peer has used: a server's side. */
  lastPeerId = 0
  /** Streams that wait for a place, by the peer's SETTINGS_MAX_CONCURRENT_STREAMS. */
  readonly #waiting: Array<Http2Stream> = []
  /** Requests that have not been handed up. */
  #arrivals: Array<Http2Stream> = []
  #arrivalsAt = 0
  /** With what the streams of a connection that is gone end. */
  #goneCode: number = ErrorCode.NO_ERROR
  /** Answered whole, and the client has not ended its side. */
  readonly #lingering = new StreamList()

  constructor(host: StreamsHost, transport: Transport, handler: ConnectionHandler, settings: LocalSettings) {
    this.role = host.role
    this.#host = host
    this.#transport = transport
    this.#handler = handler
    this.#settings = settings
    this.#output = host.output
    this.sender = new Sender(host.output, this)
    this.#recvInitial = Math.max(DEFAULT_WINDOW, settings.initialWindow)
  }

  get now(): number {
    return this.#host.now
  }

  /** Open ones, with those that wait for a place or to be handed up. */
  get count(): number {
    return this.store.size + this.#waiting.length
  }

  /** Requests that wait to be handed up, also those that were reset meanwhile. */
  get arrivals(): number {
    return this.#arrivals.length - this.#arrivalsAt
  }

  /** A client's new stream; `undefined`: there are no identifiers left (§5.1.1). */
  open(head: FieldList, handler: StreamHandler): Http2Stream | undefined {
    if (this.#nextId > MAX_WINDOW) return undefined
    const stream = new Http2Stream(this, 0, 0, 0)
    stream.handler = handler
    stream.head = head
    stream.headGiven = true
    if (this.store.size >= this.#host.peer.maxStreams) this.#waiting.push(stream)
    else this.#start(stream)
    return stream
  }

  /** There may be places for streams that wait. */
  startWaiting(): void {
    while (this.#waiting.length > 0 && this.store.size < this.#host.peer.maxStreams) {
      const stream = this.#waiting.shift()
      if (stream !== undefined) this.#start(stream)
    }
  }

  /** The peer allows fewer streams than are open: those of which nothing has left wait again (§5.1.2). */
  recallUnsent(): void {
    if (this.role === "server" || this.store.size <= this.#host.peer.maxStreams) return
    for (const stream of this.store.all().toReversed()) {
      if (this.store.size <= this.#host.peer.maxStreams) return
      if (!this.isUnsent(stream)) continue
      this.sender.forget(stream)
      this.store.withdraw(stream)
      stream.id = 0
      this.#waiting.unshift(stream)
    }
  }

  /** A request has come: it is handed up at the end of the turn. */
  arrive(id: number, request: HeaderBlock): Http2Stream {
    const stream = new Http2Stream(this, id, this.#host.peer.initialWindow, this.#recvInitial)
    stream.request = request
    stream.announced = request.contentLength
    this.store.add(stream)
    if (this.#arrivals.length === 0) this.#transport.onArrivals()
    this.#arrivals.push(stream)
    return stream
  }

  /** Hands up requests, at most `limit`, or ends streams of a connection that is gone; answers whether some are left. */
  turn(limit: number): boolean {
    if (this.#host.over) return this.#failSome(ENDS_A_TURN)
    const arrivals = this.#arrivals
    for (let taken = 0; this.#arrivalsAt < arrivals.length; this.#arrivalsAt++) {
      const stream = arrivals[this.#arrivalsAt]
      const request = stream?.request
      // A stream that was reset meanwhile never reaches the layer above.
      if (stream === undefined || stream.closed || request === undefined) continue
      if (taken++ >= limit) return true
      stream.request = undefined
      this.#handler.onRequest(stream, request)
    }
    this.#arrivals = []
    this.#arrivalsAt = 0
    return false
  }

  submit(stream: Http2Stream): void {
    if (!this.#host.over) this.sender.submit(stream)
  }

  sendNow(stream: Http2Stream, bytes: Uint8Array): boolean {
    return this.#host.over || this.sender.sendNow(stream, bytes)
  }

  abandon(stream: Http2Stream, code: number): void {
    const unsent = this.isUnsent(stream)
    stream.closed = true
    this.sender.forget(stream)
    if (stream.id === 0) {
      const at = this.#waiting.indexOf(stream)
      if (at >= 0) this.#waiting.splice(at, 1)
      return
    }
    if (!unsent && !this.#host.over) this.#output.frame32(FrameType.RST_STREAM, stream.id, code)
    this.#remove(stream, Gone.RESET_BY_US)
  }

  reopen(stream: Http2Stream): void {
    const { recvCredit } = stream
    if (recvCredit * 2 < this.#settings.initialWindow || this.#host.over) return
    stream.recvCredit = 0
    stream.recvWindow += recvCredit
    this.#output.frame32(FrameType.WINDOW_UPDATE, stream.id, recvCredit)
  }

  onLocalEnd(stream: Http2Stream): void {
    stream.localEnd = true
    if (stream.remoteEnd) return this.#end(stream)
    if (this.role === "client") return
    stream.movedAt = this.now
    this.#lingering.add(stream)
    stream.discard()
  }

  onPressure(): void {
    this.#transport.onPressure()
  }

  /** END_STREAM has come. */
  remoteEnd(stream: Http2Stream, trailers: HeaderBlock | undefined): void {
    stream.remoteEnd = true
    if (stream.localEnd) this.#end(stream)
    stream.finish(trailers)
  }

  /** The stream is over, by somebody else than the layer above. `how`: see {@link Gone}. */
  fail(stream: Http2Stream, code: number, cause: ResetCause, how: number): void {
    stream.closed = true
    this.sender.forget(stream)
    this.#remove(stream, how)
    stream.fail(code, cause)
  }

  /** A client's stream whose head has not left: nobody has seen it. */
  isUnsent(stream: Http2Stream): boolean {
    return this.role === "client" && stream.head !== undefined
  }

  /** The server takes none above `last` (§6.8). */
  refuseAbove(last: number): void {
    for (const stream of this.#waiting.splice(0)) {
      this.fail(stream, ErrorCode.REFUSED_STREAM, "refused", Gone.RESET_BY_US)
    }
    for (const stream of this.store.all()) {
      if (stream.id > last) this.fail(stream, ErrorCode.REFUSED_STREAM, "refused", Gone.RESET_BY_US)
    }
  }

  /** The connection is gone. Its streams hear it a few at a time: a thousand at once are too long a turn. */
  failAll(code: number): void {
    this.#goneCode = code
    for (const stream of this.#waiting.splice(0)) this.fail(stream, code, "refused", Gone.RESET_BY_US)
    if (this.#failSome(ENDS_A_TURN)) this.#transport.onArrivals()
  }

  /** Answers whether some are left. */
  #failSome(limit: number): boolean {
    const all = this.store.all()
    for (const stream of all.slice(0, limit)) {
      this.fail(stream, this.#goneCode, this.isUnsent(stream) ? "refused" : "connection", Gone.RESET_BY_US)
    }
    return all.length > limit
  }

  /** All windows move with the peer's SETTINGS_INITIAL_WINDOW_SIZE, below zero too; `false`: one would be too large (§6.9.2). */
  shiftSendWindows(by: number): boolean {
    for (const stream of this.store.all()) if (stream.sendWindow + by > MAX_WINDOW) return false
    for (const stream of this.store.all()) this.widen(stream, by)
    return true
  }

  widen(stream: Http2Stream, by: number): void {
    const before = stream.sendWindow
    stream.sendWindow = before + by
    if (before <= 0 && stream.sendWindow > 0 && stream.pendingBytes > 0) this.submit(stream)
  }

  /** Our SETTINGS are acknowledged: our windows move too. */
  settingsInForce(): void {
    const by = this.#settings.initialWindow - this.#recvInitial
    this.#recvInitial = this.#settings.initialWindow
    if (by !== 0) { for (const stream of this.store.all()) stream.recvWindow += by }
  }

  /** Whether a stream with this identifier was ever open (§5.1, "idle"). */
  wasOpened(id: number): boolean {
    return (id & 1) === 1 && (this.role === "server" ? id <= this.lastPeerId : id < this.#nextId)
  }

  /** Resets what has waited too long. `lingerMillis`, `stallMillis`: as in the options. */
  tick(lingerMillis: number, stallMillis: number): void {
    const { now } = this
    for (let stream = this.#lingering.first; stream !== undefined; stream = this.#lingering.first) {
      if (now - stream.movedAt < lingerMillis) break
      this.#lingering.remove(stream)
      this.abandon(stream, ErrorCode.NO_ERROR)
    }
    if (stallMillis <= 0) return
    for (const stream of this.store.all()) {
      if (stream.ending && !stream.localEnd && now - stream.movedAt > stallMillis) stream.reset(ErrorCode.CANCEL)
    }
  }

  #start(stream: Http2Stream): void {
    stream.id = this.#nextId
    stream.sendWindow = this.#host.peer.initialWindow
    stream.recvWindow = this.#recvInitial
    this.#nextId += 2
    this.store.add(stream)
    this.sender.submit(stream)
  }

  #end(stream: Http2Stream): void {
    stream.closed = true
    stream.list?.remove(stream)
    this.#remove(stream, Gone.ENDED)
  }

  #remove(stream: Http2Stream, how: number): void {
    this.store.remove(stream, how)
    stream.outbox?.clear()
    if (this.#host.over) return
    this.startWaiting()
    if (this.store.size === 0) this.#host.onLastStream()
  }
}
