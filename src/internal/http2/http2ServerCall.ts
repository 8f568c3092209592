import type { IncomingHttpHeaders, OutgoingHttpHeaders, ServerHttp2Stream } from "node:http2"
import type { BudgetHolder, MessageBudget } from "../../services/MessageBudget.ts"
import { FrameTooLarge, Malformed, MessageOverdue } from "../../services/StreamError.ts"
import type { Departure, FrameBatch, Metadata, RequestListener, ServerCall, Status } from "../../services/Wire.ts"
import { statusOf } from "../stream/streamStatus.ts"
import { FrameCutter } from "../wire/frames.ts"
import { Gathered } from "../wire/gathered.ts"
import * as GrpcMessage from "../wire/grpcMessage.ts"
import { pass } from "../wire/metadata.ts"
import { awaitHalfClose } from "./awaitHalfClose.ts"
import { resetCodeOf } from "./http2Status.ts"
import { Incoming } from "./incoming.ts"
import { Outgoing } from "./outgoing.ts"

/**
 * Trailers beyond 8 KiB make a C-core gateway fail every call of its connection; 1 KiB stays for our own keys and the
 * headers of each hop.
 */
const TRAILER_BUDGET = 7168
/** What a trailers block holds beside metadata: grpc-status, and for Trailers-Only :status and content-type. */
const OWN_TRAILER_BYTES = 200
/** How long `end(…, "now")` lets trailers try before the HTTP/2 stream is reset. */
const FLUSH_GRACE_MILLIS = 25

/** A `date` header is of no use to gRPC and would be made for every call. */
const WITH_TRAILERS = { waitForTrailers: true, sendDate: false }
const TRAILERS_ONLY = { endStream: true, sendDate: false }

const CANCEL = 8
/** Node's timers hold no more, and fire at once when they are given more. A month without a byte is as good as never. */
const LONGEST_TIMER_MILLIS = 2_147_483_647

/** What a server gives each of its calls. */
export interface CallSettings {
  readonly maxMessageBytes: number
  readonly slowReaderMillis: number
  readonly budget: MessageBudget
}

/** The arrival of a call: everything known from its headers. */
export interface CallHead {
  readonly path: string
  readonly metadata: IncomingHttpHeaders
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding: string | undefined
  readonly peer: ServerCall["peer"]
}

/** One gateway's call on its HTTP/2 stream. */
export class Http2ServerCall implements ServerCall, BudgetHolder {
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding: string | undefined
  readonly peer: ServerCall["peer"]
  readonly #stream: ServerHttp2Stream
  readonly #settings: CallSettings
  readonly #cutter: FrameCutter
  readonly #incoming: Incoming
  readonly #outgoing: Outgoing
  /** Cut and not yet taken. */
  readonly #backlog = new Gathered()
  #listener: RequestListener | undefined
  #paused = false
  #sourceEnded = false
  #departed: Departure | undefined
  #over = false
  #trailers: OutgoingHttpHeaders | undefined
  #guard: NodeJS.Timeout | undefined
  #onLeave: (() => void) | undefined

  constructor(stream: ServerHttp2Stream, head: CallHead, settings: CallSettings) {
    this.path = head.path
    this.metadata = head.metadata
    this.timeoutMillis = head.timeoutMillis
    this.arrivedAt = head.arrivedAt
    this.encoding = head.encoding
    this.peer = head.peer
    this.#stream = stream
    this.#settings = settings
    this.#cutter = new FrameCutter(settings.maxMessageBytes, { budget: settings.budget, holder: this })
    this.#incoming = new Incoming(stream, (chunk) => this.#data(chunk))
    this.#outgoing = new Outgoing(stream, () => {
      if (!this.#over) this.#listener?.onDrain()
    })
    stream.on("aborted", () => this.#leave())
    stream.on("close", () => {
      clearTimeout(this.#guard)
      this.#leave()
    })
  }

  /** Called when the gateway has left, after the listener heard it. */
  onLeave(callback: () => void): void {
    this.#onLeave = callback
    if (this.#departed !== undefined) callback()
  }

  start(listener: RequestListener): void {
    this.#listener = listener
    const stream = this.#stream
    if (this.#departed !== undefined) {
      if (!this.#over) listener.onDeparture(this.#departed)
      return
    }
    stream.on("end", () => {
      this.#sourceEnded = true
      this.#settle()
    })
    this.#incoming.begin()
  }

  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    for (let batch = this.#backlog.take(); batch !== undefined; batch = this.#backlog.take()) {
      if (this.#listener?.onFrames(batch) !== false) continue
      this.#paused = true
      return
    }
    if (this.#sourceEnded) this.#settle()
    else if (this.#cutter.mayRead) this.#incoming.resume()
  }

  onRoom(): void {
    if (!this.#over && !this.#paused) this.#incoming.resume()
  }

  onOverdue(): void {
    if (!this.#over) this.#fail(statusOf(new MessageOverdue({ side: "request" })))
  }

  sendHeaders(metadata: Metadata, encoding?: string): void {
    if (this.#over || this.#stream.headersSent || this.#stream.destroyed || this.#stream.closed) return
    this.#respond(pass(metadata, TRAILER_BUDGET - OWN_TRAILER_BYTES).metadata, encoding)
  }

  write(batch: FrameBatch): boolean {
    const stream = this.#stream
    if (this.#over || stream.destroyed || stream.closed) return true
    if (!stream.headersSent) this.#respond({}, undefined)
    return this.#outgoing.write(batch)
  }

  get pendingBytes(): number {
    return this.#outgoing.pending
  }

  end(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.#over) return
    this.#over = true
    this.#cutter.drop()
    const stream = this.#stream
    if (stream.destroyed || stream.closed) return
    const trailers = trailersOf(status)
    const trailersOnly = !stream.headersSent
    if (trailersOnly) {
      trailers[":status"] = 200
      trailers["content-type"] = "application/grpc"
      stream.respond(trailers, TRAILERS_ONLY)
    } else {
      this.#trailers = trailers
      this.#outgoing.flush()
      stream.end()
    }
    if (delivery === "now") {
      this.#guard = setTimeout(() => {
        if (!stream.closed) stream.close(resetCodeOf(status.code))
      }, FLUSH_GRACE_MILLIS)
    } else if (stream.writableLength > 0) this.#guardFlush(stream.writableLength)
    if (trailersOnly) this.#release()
  }

  #respond(metadata: Record<string, string | Array<string>>, encoding: string | undefined): void {
    const headers: OutgoingHttpHeaders = metadata
    headers[":status"] = 200
    headers["content-type"] = "application/grpc"
    if (encoding !== undefined && encoding.length <= 32) headers["grpc-encoding"] = encoding
    this.#stream.respond(headers, WITH_TRAILERS)
    this.#stream.once("wantTrailers", () => {
      if (this.#stream.destroyed || this.#stream.closed) return
      this.#stream.sendTrailers(this.#trailers ?? {})
      this.#release()
    })
  }

  /** The trailers are on their way. */
  #release(): void {
    // What comes now is dropped; a call that was refused at once never began to read.
    if (this.#listener === undefined) this.#stream.resume()
    else this.#incoming.resume()
    if (this.#sourceEnded) return
    clearTimeout(this.#guard)
    awaitHalfClose(this.#stream)
  }

  /** After the end, a gateway that takes nothing for the slow reader's time is not waited for. */
  #guardFlush(waiting: number): void {
    const stream = this.#stream
    this.#guard = setTimeout(() => {
      if (stream.closed) return
      if (stream.writableLength < waiting) this.#guardFlush(stream.writableLength)
      else stream.close(CANCEL)
    }, Math.min(this.#settings.slowReaderMillis, LONGEST_TIMER_MILLIS))
  }

  /** After the end everything is taken and dropped. */
  #data(chunk: Uint8Array): boolean {
    if (this.#over) return true
    const batch = this.#cutter.push(chunk)
    if (batch !== undefined && this.#listener !== undefined) {
      if (this.#paused) this.#backlog.push(batch)
      else this.#paused = !this.#listener.onFrames(batch)
    }
    const bytes = this.#cutter.oversize
    if (bytes !== undefined && !this.#over) {
      this.#fail(statusOf(new FrameTooLarge({ side: "request", bytes, limit: this.#settings.maxMessageBytes })))
    }
    return this.#over || (!this.#paused && this.#cutter.mayRead)
  }

  #settle(): void {
    if (this.#over || !this.#sourceEnded || this.#paused || this.#departed !== undefined) return
    if (this.#cutter.pending > 0) {
      this.#fail(statusOf(new Malformed({ detail: "The request ends inside a message" })))
    } else this.#listener?.onHalfClose()
  }

  /** The request itself is at fault: answered here; to the handler it is as if the gateway had left. */
  #fail(status: Status): void {
    this.end(status)
    this.#depart("rejected", status)
  }

  #leave(): void {
    if (this.#over) return
    this.#over = true
    this.#cutter.drop()
    clearTimeout(this.#guard)
    this.#depart(this.#stream.session === undefined || this.#stream.session.destroyed ? "vanished" : "cancelled")
  }

  #depart(departure: Departure, answered?: Status): void {
    if (this.#departed !== undefined) return
    this.#departed = departure
    this.#listener?.onDeparture(departure, answered)
    this.#onLeave?.()
  }
}

/** Trailers that are safe to send: well-formed, and within what a C-core peer takes. */
const trailersOf = (status: Status): OutgoingHttpHeaders => {
  const budget = TRAILER_BUDGET - OWN_TRAILER_BYTES
  const message = GrpcMessage.encode(status.message, budget / 2)
  const headers: OutgoingHttpHeaders = pass(status.metadata, budget - message.length).metadata
  headers["grpc-status"] = String(status.code)
  if (message !== "") headers["grpc-message"] = message
  return headers
}
