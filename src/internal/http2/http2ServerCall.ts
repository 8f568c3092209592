import type { FieldLines, FieldList, HeaderBlock } from "../../http2/headerBlock.ts"
import type { Http2Stream, ResetCause, StreamHandler } from "../../http2/stream.ts"
import type { BudgetHolder, MessageBudget } from "../../services/MessageBudget.ts"
import { FrameTooLarge, GatewayGone, Malformed, MessageOverdue, Rejected } from "../../services/StreamError.ts"
import type { FrameBatch, Metadata, ServerCall, Status, Waypoint } from "../../services/Wire.ts"
import { areWhole, FrameCutter } from "../wire/frames.ts"
import * as GrpcMessage from "../wire/grpcMessage.ts"
import { pass } from "../wire/metadata.ts"
import { PulledRequests } from "../wire/pulledRequests.ts"
import { statusOf } from "../wire/streamStatus.ts"
import { addMetadata, metadataOf } from "./fields.ts"
import { resetCodeOf } from "./http2Status.ts"

/**
 * Trailers beyond 8 KiB make a C-core gateway fail every call of its connection; 1 KiB stays for our own keys and the
 * headers of each hop.
 */
const TRAILER_BUDGET = 7168
/** What a trailers block holds beside metadata: grpc-status, and for Trailers-Only :status and content-type. */
const OWN_TRAILER_BYTES = 200
/** How long `end(…, "now")` lets trailers try before the HTTP/2 stream is reset. */
const FLUSH_GRACE_MILLIS = 25

const PLAIN_HEAD: ReadonlyArray<string> = [":status", "200", "content-type", "application/grpc"]

/** What a server gives each of its calls. */
export interface CallSettings {
  readonly maxMessageBytes: number
  readonly budget: MessageBudget
}

/** The arrival of a call: everything known from its headers. */
export interface CallHead {
  readonly block: HeaderBlock
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding: string | undefined
  readonly peer: ServerCall["peer"]
}

/** One gateway's call on its HTTP/2 stream. */
export class Http2ServerCall extends PulledRequests implements ServerCall, StreamHandler, BudgetHolder {
  readonly path: string
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  readonly encoding: string | undefined
  readonly peer: ServerCall["peer"]
  readonly #block: HeaderBlock
  readonly #stream: Http2Stream
  readonly #settings: CallSettings
  /** Once the gateway has sent a part of a message. */
  #cutter: FrameCutter | undefined
  #metadata: Metadata | undefined
  #over = false
  /** Nobody takes more for now. */
  #full = false

  constructor(stream: Http2Stream, head: CallHead, settings: CallSettings) {
    super()
    this.path = head.block.path
    this.timeoutMillis = head.timeoutMillis
    this.arrivedAt = head.arrivedAt
    this.encoding = head.encoding
    this.peer = head.peer
    this.#block = head.block
    this.#stream = stream
    this.#settings = settings
    stream.attach(this)
  }

  get metadata(): Metadata {
    return this.#metadata ??= metadataOf(this.#block)
  }

  protected readOn(): void {
    this.#full = false
    if (this.#stream.remoteEnd || this.#cutter?.mayRead !== false) this.#stream.resume()
  }

  onRoom(): void {
    if (!this.#over && !this.#full) this.#stream.resume()
  }

  onOverdue(): void {
    if (!this.#over) this.#fail(statusOf(new MessageOverdue({ side: "request" })))
  }

  sendHeaders(metadata: Metadata, encoding?: string): void {
    if (this.#over || this.#stream.headGiven) return
    const head: FieldLines = [...PLAIN_HEAD]
    if (encoding !== undefined && encoding.length <= 32) head.push("grpc-encoding", encoding)
    addMetadata(head, pass(metadata, TRAILER_BUDGET - OWN_TRAILER_BYTES).metadata)
    this.#stream.respond(head)
  }

  /** Once it is over, its stream takes nothing any more. */
  write(batch: FrameBatch): boolean {
    const stream = this.#stream
    if (!stream.headGiven) {
      if (this.#over) return true
      stream.respond(PLAIN_HEAD)
    }
    return this.wrote(stream.write(batch))
  }

  override get ahead(): Waypoint | undefined {
    return this.#stream
  }

  get pendingBytes(): number {
    return this.#stream.pendingBytes
  }

  end(status: Status, delivery: "flush" | "now" = "flush"): void {
    if (this.#over) return
    this.#over = true
    this.#cutter?.drop()
    const stream = this.#stream
    const trailers = trailersOf(status, stream.headGiven)
    stream.end(trailers)
    if (delivery === "now" && !stream.localEnd) {
      setTimeout(() => {
        if (!stream.localEnd) stream.reset(resetCodeOf(status.code))
      }, FLUSH_GRACE_MILLIS)
    }
    // What comes now is dropped; the gateway's window must not stand in the way of its half-close.
    stream.resume()
  }

  onHeaders(): void {}

  /** After the end everything is taken and dropped. */
  onData(bytes: Uint8Array): boolean {
    if (this.#over) return true
    if (this.#cutter !== undefined || !areWhole(bytes, this.#settings.maxMessageBytes)) return this.#cut(bytes)
    if (this.request(bytes)) return true
    this.#full = true
    return this.#over
  }

  onEnd(): void {
    if (this.#over || this.hasLeft) return
    if (this.#cutter !== undefined && this.#cutter.pending > 0) {
      this.#fail(statusOf(new Malformed({ detail: "The request ends inside a message" })))
    } else this.halfClosed()
  }

  onReset(_code: number, cause: ResetCause): void {
    if (this.#over) return
    this.#over = true
    this.#cutter?.drop()
    this.left(new GatewayGone({ departure: cause === "connection" ? "vanished" : "cancelled" }))
  }

  onDrain(): void {
    if (!this.#over) this.drained()
  }

  #cut(bytes: Uint8Array): boolean {
    const { budget, maxMessageBytes: limit } = this.#settings
    const cutter = this.#cutter ??= new FrameCutter(limit, { budget, holder: this })
    const batch = cutter.push(bytes)
    if (batch !== undefined && !this.request(batch)) this.#full = true
    const { oversize } = cutter
    if (oversize !== undefined && !this.#over) {
      this.#fail(statusOf(new FrameTooLarge({ side: "request", bytes: oversize, limit })))
    }
    return this.#over || (!this.#full && cutter.mayRead)
  }

  /** The request itself is at fault: answered here. */
  #fail(status: Status): void {
    this.end(status)
    this.left(new Rejected({ status }))
  }
}

/** Trailers that are safe to send: well-formed, and within what a C-core peer takes. */
const trailersOf = (status: Status, answered: boolean): FieldList => {
  const budget = TRAILER_BUDGET - OWN_TRAILER_BYTES
  const message = GrpcMessage.encode(status.message, budget / 2)
  const fields: FieldLines = answered ? [] : [...PLAIN_HEAD]
  fields.push("grpc-status", String(status.code))
  if (message !== "") fields.push("grpc-message", message)
  addMetadata(fields, pass(status.metadata, budget - message.length).metadata)
  return fields
}
