import type { ClientDuplexStream } from "@grpc/grpc-js"
import * as Status from "../../services/Status.ts"
import type { CallEnd, FrameBatch } from "../../services/Wire.ts"
import { frame } from "../wire/frames.ts"
import type { RawCall, ReplyListener } from "../wire/pulledCall.ts"
import { messagesOf } from "./grpcJsMessages.ts"
import { fromGrpcJs } from "./grpcJsMetadata.ts"
import { endOfStatus } from "./grpcJsStatus.ts"

/**
 * How much is read ahead of a listener that is full. grpc-js drops every message that was not yet pushed when a status
 * other than OK comes (grpc-node issue 2764), so it must not be made to hold back the last tokens before an error.
 */
const READ_AHEAD_BYTES = 1024 * 1024

export interface GrpcJsCallOwner {
  readonly maxMessageBytes: number
  /** Something came from the worker. */
  heard(): void
  /** The call is over. */
  closed(): void
}

/** One call of a grpc-js client with identity serializers: prefixes are added to what comes and cut from what goes. */
export class GrpcJsWorkerCall implements RawCall {
  readonly #call: ClientDuplexStream<Buffer, Buffer>
  readonly #listener: ReplyListener
  readonly #owner: GrpcJsCallOwner
  readonly #encoding: string | undefined
  #backlog: Array<FrameBatch> = []
  #backlogBytes = 0
  #paused = false
  #answered = false
  #end: CallEnd | undefined
  #sourceEnded = false
  #over = false
  #closed = false
  #halfClosed = false

  constructor(
    call: ClientDuplexStream<Buffer, Buffer>,
    encoding: string | undefined,
    listener: ReplyListener,
    owner: GrpcJsCallOwner
  ) {
    this.#call = call
    this.#encoding = encoding
    this.#listener = listener
    this.#owner = owner
    call.on("metadata", (metadata) => {
      this.#heard()
      if (!this.#over) listener.onHeaders(fromGrpcJs(metadata))
    })
    call.on("data", (message: Buffer) => this.#data(message))
    call.on("drain", () => {
      if (!this.#over && !this.#halfClosed) listener.onDrain()
    })
    call.on("error", () => {
      // Told by "status", which always follows.
    })
    call.on("status", (status) => {
      this.#end ??= endOfStatus(status, this.#answered)
      // What is left now is at most the stream's own buffer.
      call.resume()
      this.#close()
      this.#settle()
    })
    call.on("end", () => {
      this.#sourceEnded = true
      this.#settle()
    })
  }

  write(batch: FrameBatch): boolean {
    if (this.#over || this.#halfClosed || this.#end !== undefined) return true
    const messages = messagesOf(batch, this.#encoding, this.#owner.maxMessageBytes)
    if (messages === undefined) {
      this.#fail(Status.make(Status.Code.INTERNAL, "A compressed request message cannot be opened"))
      return true
    }
    let more = true
    for (const message of messages) more = this.#call.write(message)
    return more
  }

  halfClose(): void {
    if (this.#halfClosed) return
    this.#halfClosed = true
    if (!this.#over) this.#call.end()
  }

  resume(): void {
    if (this.#over || !this.#paused) return
    this.#paused = false
    while (!this.#paused) {
      const batch = this.#backlog.shift()
      if (batch === undefined) break
      this.#backlogBytes -= batch.length
      this.#paused = !this.#listener.onFrames(batch)
    }
    if (this.#paused || this.#over) return
    this.#call.resume()
    this.#settle()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#backlog = []
    this.#call.cancel()
    this.#call.resume()
    this.#close()
  }

  #data(message: Buffer): void {
    this.#heard()
    if (this.#over) return
    const batch = frame(message)
    if (!this.#paused) {
      this.#paused = !this.#listener.onFrames(batch)
      return
    }
    this.#backlog.push(batch)
    this.#backlogBytes += batch.length
    if (this.#backlogBytes >= READ_AHEAD_BYTES && this.#end === undefined) this.#call.pause()
  }

  #heard(): void {
    this.#answered = true
    this.#owner.heard()
  }

  #fail(status: CallEnd["status"]): void {
    this.#end = { reason: "status", status }
    this.#call.cancel()
    this.#call.resume()
  }

  /** Tells the end once everything before it was taken. */
  #settle(): void {
    if (this.#over || this.#end === undefined || !this.#sourceEnded || this.#paused) return
    this.#over = true
    this.#listener.onEnd(this.#end)
  }

  #close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#owner.closed()
  }
}
