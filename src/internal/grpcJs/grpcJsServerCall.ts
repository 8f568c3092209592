import type { ServerDuplexStream } from "@grpc/grpc-js"
import * as Status from "../../services/Status.ts"
import { GatewayGone } from "../../services/StreamError.ts"
import type { FrameBatch, Metadata, ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { frame } from "../wire/frames.ts"
import * as GrpcMessage from "../wire/grpcMessage.ts"
import { pass } from "../wire/metadata.ts"
import { PulledRequests } from "../wire/pulledRequests.ts"
import { messagesOf } from "./grpcJsMessages.ts"
import { fromGrpcJs, toGrpcJs } from "./grpcJsMetadata.ts"

/** Trailers beyond 8 KiB make a C-core gateway fail every call of its connection; the rest is for each hop's own keys. */
const TRAILER_BUDGET = 6900
/** Percent-encoding makes at most three bytes of one. */
const MAX_MESSAGE_BYTES = TRAILER_BUDGET / 6
/** What a server knows of a call beside the call itself. */
export interface GrpcJsCallHead {
  readonly arrivedAt: number
  readonly peer: ServerCall["peer"]
  readonly maxMessageBytes: number
}

/** What is left of a call's time as it arrives: grpc-js has made a wall-clock time of it in this same turn. */
const remaining = (call: ServerDuplexStream<Buffer, Buffer>): number => Number(call.getDeadline()) - Date.now()

/**
 * One gateway's call on a grpc-js server with identity serializers.
 *
 * **Gotchas**
 *
 * grpc-js cannot end a call whose gateway does not read: `end(…, "now")` is no stronger than `"flush"` here, and the
 * HTTP/2 stream stays until the gateway closes it. `Http2Server` has neither fault.
 */
export class GrpcJsServerCall extends PulledRequests implements ServerCall {
  readonly path: string
  readonly metadata: Metadata
  readonly timeoutMillis: number | undefined
  readonly arrivedAt: number
  /** grpc-js opens compressed requests itself. */
  readonly encoding: undefined
  readonly peer: ServerCall["peer"]
  readonly #call: ServerDuplexStream<Buffer, Buffer>
  readonly #maxMessageBytes: number
  #replyEncoding: string | undefined
  #pending = 0
  #halfClosed = false
  #over = false
  #started = false

  constructor(call: ServerDuplexStream<Buffer, Buffer>, head: GrpcJsCallHead) {
    super()
    const millis = remaining(call)
    this.path = call.getPath()
    this.metadata = fromGrpcJs(call.metadata)
    this.timeoutMillis = millis === Number.POSITIVE_INFINITY ? undefined : millis
    this.arrivedAt = head.arrivedAt
    this.peer = head.peer
    this.#call = call
    this.#maxMessageBytes = head.maxMessageBytes
    // grpc-js ends a call at its deadline by itself and tells it like a cancellation: the handler tells them apart.
    const cancelled = (): void => {
      if (this.#live) this.left(new GatewayGone({ departure: "cancelled" }))
    }
    if (call.cancelled) cancelled()
    else call.on("cancelled", cancelled)
  }

  protected readOn(): void {
    if (this.#started) return void this.#call.resume()
    this.#started = true
    const call = this.#call
    call.on("data", (message: Buffer) => {
      if (this.#live && !this.request(frame(message))) call.pause()
    })
    call.on("end", () => {
      // A cancellation looks like a half-close first.
      setImmediate(() => {
        if (!this.#live || this.#halfClosed) return
        this.#halfClosed = true
        this.halfClosed()
      })
    })
    call.on("drain", () => {
      if (this.#live) this.drained()
    })
  }

  sendHeaders(metadata: Metadata, encoding?: string): void {
    if (!this.#live) return
    this.#replyEncoding = encoding
    this.#call.sendMetadata(toGrpcJs(pass(metadata, TRAILER_BUDGET).metadata))
  }

  write(batch: FrameBatch): boolean {
    if (!this.#live) return true
    const messages = messagesOf(batch, this.#replyEncoding, this.#maxMessageBytes)
    if (messages === undefined) {
      this.end(Status.make(Status.Code.INTERNAL, "A compressed response message cannot be opened"))
      return true
    }
    let more = true
    for (const message of messages) {
      this.#pending += message.length
      more = this.#call.write(message, () => {
        this.#pending -= message.length
      })
    }
    return this.wrote(more)
  }

  get pendingBytes(): number {
    return this.#pending
  }

  end(status: GrpcStatus): void {
    if (this.#over) return
    this.#over = true
    const call = this.#call
    // What the gateway still sends is nobody's business now.
    call.resume()
    if (this.hasLeft || call.cancelled) return
    const details = GrpcMessage.clip(status.message, MAX_MESSAGE_BYTES).toWellFormed()
    const metadata = toGrpcJs(pass(status.metadata, TRAILER_BUDGET / 2).metadata)
    if (status.code === Status.Code.OK && details === "") call.end(metadata)
    else call.emit("error", { code: status.code, details, metadata })
  }

  get #live(): boolean {
    return !this.#over && !this.hasLeft
  }
}
