import type {
  ClientHttp2Session,
  ClientHttp2Stream,
  IncomingHttpHeaders,
  IncomingHttpStatusHeader,
  OutgoingHttpHeaders
} from "node:http2"
import type { BudgetHolder, MessageBudget } from "../../services/MessageBudget.ts"
import * as Status from "../../services/Status.ts"
import { FrameTooLarge, MessageOverdue } from "../../services/StreamError.ts"
import type { CallEnd, CallStart, FrameBatch, ReplyListener, WorkerCall } from "../../services/Wire.ts"
import { statusOf } from "../stream/streamStatus.ts"
import { FrameCutter } from "../wire/frames.ts"
import { Gathered } from "../wire/gathered.ts"
import * as GrpcTimeout from "../wire/grpcTimeout.ts"
import { endOfHttp, endOfReset, endOfTrailers } from "./http2Status.ts"
import { Incoming } from "./incoming.ts"

/** RST_STREAM CANCEL (RFC 9113 §7). */
const CANCEL = 8
/** NGHTTP2_FLAG_END_STREAM: the headers are the whole answer (Trailers-Only). */
const END_STREAM = 1

/** OK with half a message is not OK. */
const END_INSIDE_MESSAGE: CallEnd = {
  reason: "status",
  status: Status.make(Status.Code.INTERNAL, "Worker ended inside a message")
}

const END_UNSENT: CallEnd = endOfReset(7, false)

/** What a link keeps of its calls. */
export interface CallOwner {
  readonly maxMessageBytes: number
  readonly budget: MessageBudget
  opened(call: Http2WorkerCall): void
  /** Something came from the worker. */
  heard(): void
  /** The call is over. */
  closed(call: Http2WorkerCall): void
}

/**
 * One call on the link's HTTP/2 session. DATA is cut into whole frames and handed over as it comes. While the listener is
 * full the HTTP/2 window holds the worker back; what had arrived by then is never lost, also when the stream is reset or
 * the link breaks: it is handed over before the end.
 */
export class Http2WorkerCall implements WorkerCall, BudgetHolder {
  readonly #owner: CallOwner
  readonly #listener: ReplyListener
  readonly #cutter: FrameCutter
  readonly #stream: ClientHttp2Stream | undefined
  readonly #incoming: Incoming | undefined
  /** DATA that Node handed over before the headers of the same read. */
  #early: Array<Uint8Array> = []
  /** Cut and not yet taken, because the listener is full: at most a window of the HTTP/2 stream. */
  readonly #backlog = new Gathered()
  #paused = false
  #end: CallEnd | undefined
  #sourceEnded = false
  #over = false
  #halfClosed = false
  #answered = false

  constructor(session: ClientHttp2Session, start: CallStart, listener: ReplyListener, owner: CallOwner) {
    this.#owner = owner
    this.#listener = listener
    this.#cutter = new FrameCutter(owner.maxMessageBytes, { budget: owner.budget, holder: this })
    this.#stream = open(session, start)
    const stream = this.#stream
    if (stream === undefined) {
      this.#over = true
      listener.onEnd(END_UNSENT)
      return
    }
    owner.opened(this)
    this.#incoming = new Incoming(stream, (chunk) => this.#data(chunk))
    stream.on("response", (headers, flags) => this.#response(headers, flags))
    stream.on("trailers", (headers: IncomingHttpHeaders) => {
      this.#end ??= endOfTrailers(headers)
    })
    stream.on("drain", () => {
      if (!this.#over) listener.onDrain()
    })
    stream.on("end", () => {
      this.#sourceEnded = true
      this.#settle()
    })
    stream.on("error", () => {
      // Told by "close", which always follows.
    })
    stream.on("close", () => {
      if (this.#over) return owner.closed(this)
      this.#sourceEnded = true
      this.#end ??= endOfReset(stream.rstCode, this.#answered)
      owner.closed(this)
      this.#settle()
    })
    this.#incoming.begin()
  }

  write(batch: FrameBatch): boolean {
    const stream = this.#stream
    // A write on a stream that was reset would destroy it, and with it what it has not handed over yet.
    if (this.#over || this.#halfClosed || stream === undefined || stream.closed || stream.destroyed) return true
    return stream.write(batch)
  }

  halfClose(): void {
    if (this.#halfClosed) return
    this.#halfClosed = true
    if (this.#stream !== undefined && !this.#stream.closed && !this.#stream.destroyed) this.#stream.end()
  }

  resume(): void {
    if (this.#over || !this.#paused) return
    this.#paused = false
    for (let batch = this.#backlog.take(); batch !== undefined; batch = this.#backlog.take()) {
      if (this.#listener.onFrames(batch)) continue
      this.#paused = true
      return
    }
    if (this.#sourceEnded) this.#settle()
    else if (this.#cutter.mayRead) this.#incoming?.resume()
  }

  onRoom(): void {
    if (!this.#over && !this.#paused) this.#incoming?.resume()
  }

  onOverdue(): void {
    if (!this.#over) this.#giveUp({ reason: "status", status: statusOf(new MessageOverdue({ side: "response" })) })
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#backlog.clear()
    this.#owner.closed(this)
    this.#cutter.drop()
    if (this.#stream !== undefined && !this.#stream.destroyed) this.#stream.close(CANCEL)
  }

  #response(headers: IncomingHttpHeaders & IncomingHttpStatusHeader, flags: number): void {
    if (this.#over) return
    this.#owner.heard()
    this.#answered = true
    const contentType = headers["content-type"]
    const end = endOfTrailers(headers)
    if ((flags & END_STREAM) !== 0 && end !== undefined) this.#end = end
    else if (headers[":status"] !== 200 || !contentType?.startsWith("application/grpc")) {
      this.#finish(endOfHttp(headers[":status"] ?? 0, contentType))
    } else this.#listener.onHeaders(headers)
    const early = this.#early
    this.#early = []
    for (const chunk of early) this.#data(chunk)
  }

  /** After the end everything is taken and dropped. */
  #data(chunk: Uint8Array): boolean {
    if (this.#over) return true
    if (!this.#answered) {
      this.#early.push(chunk)
      return true
    }
    this.#owner.heard()
    const batch = this.#cutter.push(chunk)
    if (batch !== undefined) {
      if (this.#paused) this.#backlog.push(batch)
      else this.#paused = !this.#listener.onFrames(batch)
    }
    if (this.#cutter.oversize !== undefined && !this.#over) this.#tooLarge(this.#cutter.oversize)
    return this.#over || (!this.#paused && this.#cutter.mayRead)
  }

  #tooLarge(bytes: number): void {
    this.#giveUp({
      reason: "status",
      status: statusOf(new FrameTooLarge({ side: "response", bytes, limit: this.#owner.maxMessageBytes }))
    })
  }

  /** Our end of a call whose answer cannot be taken. */
  #giveUp(end: CallEnd): void {
    this.#end = end
    this.#sourceEnded = true
    if (this.#stream !== undefined && !this.#stream.destroyed) this.#stream.close(CANCEL)
    this.#settle()
  }

  /** Tells the end once everything before it was taken. */
  #settle(): void {
    if (this.#over || !this.#sourceEnded || this.#paused || this.#backlog.size > 0) return
    // END_STREAM without trailers, and no reset yet: "close" knows more.
    if (this.#end === undefined && this.#stream?.closed === false) this.#end = endOfReset(0, true)
    if (this.#end === undefined) return
    this.#finish(this.#cutter.pending > 0 && this.#end.status.code === 0 ? END_INSIDE_MESSAGE : this.#end)
  }

  #finish(end: CallEnd): void {
    if (this.#over) return
    this.#over = true
    this.#cutter.drop()
    const stream = this.#stream
    if (stream !== undefined && !stream.destroyed) {
      // The worker is done: our half closes too, and does not wait for a window that nobody opens any more.
      if (!this.#sourceEnded || stream.writableLength > 0) stream.close(CANCEL)
      else if (!this.#halfClosed) stream.end()
    }
    this.#listener.onEnd(end)
  }
}

/** `undefined` when the session takes no new stream: closed, going away, or the headers were refused. */
const open = (session: ClientHttp2Session, start: CallStart): ClientHttp2Stream | undefined => {
  if (session.closed || session.destroyed) return undefined
  const headers: OutgoingHttpHeaders = {
    ":method": "POST",
    ":path": start.path,
    ":scheme": "http",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
    "grpc-accept-encoding": "identity",
    "user-agent": "cy-llm-sidecar"
  }
  if (start.timeoutMillis !== undefined) headers["grpc-timeout"] = GrpcTimeout.format(start.timeoutMillis)
  if (start.encoding !== undefined) headers["grpc-encoding"] = start.encoding
  for (const key in start.metadata) {
    const value = start.metadata[key]
    headers[key] = typeof value === "string" ? value : value?.slice()
  }
  try {
    return session.request(headers, { endStream: false })
  } catch {
    return undefined
  }
}
