import type { FieldLines, FieldList, HeaderBlock } from "../../http2/headerBlock.ts"
import { ErrorCode } from "../../http2/protocol.ts"
import type { Http2Stream, ResetCause, StreamHandler } from "../../http2/stream.ts"
import type { BudgetHolder, MessageBudget } from "../../services/MessageBudget.ts"
import * as Status from "../../services/Status.ts"
import { FrameTooLarge, MessageOverdue } from "../../services/StreamError.ts"
import type { CallEnd, CallStart, FrameBatch, Waypoint } from "../../services/Wire.ts"
import { areWhole, FrameCutter } from "../wire/frames.ts"
import * as GrpcTimeout from "../wire/grpcTimeout.ts"
import { PulledCall } from "../wire/pulledCall.ts"
import { statusOf } from "../wire/streamStatus.ts"
import { addMetadata, metadataOf } from "./fields.ts"
import { endOfHttp, endOfReset, endOfTrailers } from "./http2Status.ts"

/** OK with half a message is not OK. */
const END_INSIDE_MESSAGE: CallEnd = {
  reason: "status",
  status: Status.make(Status.Code.INTERNAL, "Worker ended inside a message")
}

const END_UNSENT: CallEnd = endOfReset(ErrorCode.REFUSED_STREAM, false)

/** What a link keeps of its calls, and gives them. */
export interface CallOwner {
  readonly maxMessageBytes: number
  readonly budget: MessageBudget
  /** A new stream; `undefined`: the link takes none any more. */
  open(head: FieldList, handler: StreamHandler): Http2Stream | undefined
  /** Ends a stream that the worker goes on with: RST_STREAM CANCEL, at once or as soon as the rate allows. */
  cancel(stream: Http2Stream): void
  /** Something came from the worker. */
  heard(): void
  /** The call is over. */
  closed(): void
}

/**
 * One call on the link's connection. DATA is cut into whole frames and handed over as it comes. While nobody takes more
 * the stream's window holds the worker back; what had arrived by then is never lost, also when the stream is reset or the
 * link breaks: it is handed over before the end.
 */
export class Http2WorkerCall extends PulledCall implements StreamHandler, BudgetHolder {
  readonly #owner: CallOwner
  /** Once the worker has sent a part of a message. */
  #cutter: FrameCutter | undefined
  #over = false
  #stream: Http2Stream | undefined
  #end: CallEnd | undefined
  #answered = false
  /** Nobody takes more for now. */
  #full = false
  /** A message could not be taken: what comes after it is dropped. */
  #cutShort = false

  constructor(owner: CallOwner) {
    super()
    this.#owner = owner
  }

  /** Once. */
  open(start: CallStart): void {
    this.#stream = this.#owner.open(headOf(start), this)
    if (this.#stream !== undefined) return
    this.#over = true
    this.replyEnd(END_UNSENT)
  }

  override get ahead(): Waypoint | undefined {
    return this.#over ? undefined : super.ahead
  }

  protected send(batch: FrameBatch): boolean {
    return this.#over || this.#stream === undefined || this.#stream.write(batch)
  }

  halfClose(): void {
    this.#stream?.end()
  }

  protected readOn(): void {
    if (!this.#full) return
    this.#full = false
    if (this.#stream?.remoteEnd === true || this.#cutter?.mayRead !== false) this.#stream?.resume()
    if (!this.#full && this.#cutShort) this.#settle()
  }

  onRoom(): void {
    if (!this.#over && !this.#full) this.#stream?.resume()
  }

  onOverdue(): void {
    if (!this.#over) this.#giveUp({ reason: "status", status: statusOf(new MessageOverdue({ side: "response" })) })
  }

  protected abandon(): void {
    if (this.#over || this.#stream === undefined) return
    this.#over = true
    this.#cutter?.drop()
    this.#owner.closed()
    this.#owner.cancel(this.#stream)
  }

  onHeaders(block: HeaderBlock): void {
    if (this.#over) return
    this.#owner.heard()
    this.#answered = true
    const metadata = metadataOf(block)
    const contentType = block.get("content-type")
    const end = block.endStream ? endOfTrailers(metadata) : undefined
    if (end !== undefined) this.#end = end
    else if (block.status !== 200 || contentType?.startsWith("application/grpc") !== true) {
      this.#finish(endOfHttp(block.status, contentType))
    } else this.replyHead(metadata)
  }

  /** After the end everything is taken and dropped. */
  onData(bytes: Uint8Array): boolean {
    if (this.#over) return true
    const owner = this.#owner
    owner.heard()
    if (this.#cutter !== undefined || !areWhole(bytes, owner.maxMessageBytes)) return this.#cut(bytes)
    if (this.reply(bytes)) return true
    this.#full = true
    return this.#over
  }

  onEnd(trailers: HeaderBlock | undefined): void {
    if (trailers !== undefined) this.#end ??= endOfTrailers(metadataOf(trailers))
    // END_STREAM without a status.
    this.#end ??= endOfReset(ErrorCode.NO_ERROR, true)
    this.#settle()
  }

  onReset(code: number, cause: ResetCause): void {
    this.#end ??= endOfReset(
      cause === "refused" ? ErrorCode.REFUSED_STREAM : code,
      this.#answered || cause !== "refused"
    )
    this.#settle()
  }

  onDrain(): void {
    if (!this.#over) this.drained()
  }

  #cut(bytes: Uint8Array): boolean {
    const { budget, maxMessageBytes } = this.#owner
    const cutter = this.#cutter ??= new FrameCutter(maxMessageBytes, { budget, holder: this })
    const batch = cutter.push(bytes)
    if (batch !== undefined && !this.reply(batch)) this.#full = true
    if (cutter.oversize !== undefined && !this.#over) this.#tooLarge(cutter.oversize)
    return this.#over || (!this.#full && cutter.mayRead)
  }

  #tooLarge(bytes: number): void {
    const limit = this.#owner.maxMessageBytes
    this.#giveUp({ reason: "status", status: statusOf(new FrameTooLarge({ side: "response", bytes, limit })) })
  }

  /** Our end of a call whose answer cannot be taken; what came before is taken first. */
  #giveUp(end: CallEnd): void {
    this.#cutShort = true
    this.#end = end
    if (!this.#full) this.#settle()
  }

  #settle(): void {
    const end = this.#end
    if (end === undefined) return
    const pending = this.#cutter?.pending ?? 0
    this.#finish(pending > 0 && end.status.code === 0 ? END_INSIDE_MESSAGE : end)
  }

  #finish(end: CallEnd): void {
    if (this.#over) return
    this.#over = true
    this.#cutter?.drop()
    this.#owner.closed()
    const stream = this.#stream
    if (stream !== undefined && !stream.closed) {
      // The worker is done: our half closes too, and does not wait for a window that nobody opens any more.
      if (!stream.remoteEnd || stream.pendingBytes > 0) this.#owner.cancel(stream)
      else stream.end()
    }
    this.replyEnd(end)
  }
}

const headOf = (start: CallStart): FieldList => {
  const head: FieldLines = [
    ":method",
    "POST",
    ":scheme",
    "http",
    ":path",
    start.path,
    ":authority",
    "localhost",
    "te",
    "trailers",
    "content-type",
    "application/grpc",
    "grpc-accept-encoding",
    "identity",
    "user-agent",
    "cy-llm-sidecar"
  ]
  if (start.timeoutMillis !== undefined) head.push("grpc-timeout", GrpcTimeout.format(start.timeoutMillis))
  if (start.encoding !== undefined) head.push("grpc-encoding", start.encoding)
  addMetadata(head, start.metadata)
  return head
}
