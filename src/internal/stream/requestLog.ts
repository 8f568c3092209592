import type { FrameBatch, WorkerCall } from "../../services/Wire.ts"
import type { RequestBytes } from "./requestBytes.ts"

/** Where requests go: the sending side of a call to the worker. */
export type RequestSink = Pick<WorkerCall, "write" | "halfClose">

/**
 * The request frames of one stream. They wait here while there is no call to send them on; and they stay, up to a number
 * of bytes, until the first token has been handed to the gateway, so that the stream can be sent again. A stream that
 * outgrows the limit loses only its right to be sent again.
 */
export class RequestLog {
  readonly #keepBytes: number
  readonly #all: RequestBytes
  #batches: Array<FrameBatch> = []
  /** Batches already given to the current call. */
  #sent = 0
  #keeps = true
  /** Something was sent and is not kept. */
  #lost = false
  #halfClosed = false
  #bytes = 0

  /** Whether more may be read: `false` when what waits is a lot, or the call that took the last batch is full. */
  room = true

  /** `keepBytes`: `[reload] replay_max_bytes`; 0 keeps nothing. `all`: what all streams keep together. */
  constructor(keepBytes: number, all: RequestBytes) {
    this.#keepBytes = keepBytes
    this.#all = all
    if (keepBytes === 0) this.#keeps = false
  }

  /** Bytes that this log holds in memory. */
  get bytes(): number {
    return this.#bytes
  }

  /** Everything that came so far can be sent again: it is kept, or has not been sent yet. */
  get replayable(): boolean {
    return !this.#lost
  }

  /** Takes a batch; with a call it is sent at once. */
  push(batch: FrameBatch, call: RequestSink | undefined): void {
    if (this.#keeps && this.#bytes + batch.length > this.#keepBytes) this.forget()
    if (this.#keeps || call === undefined) {
      this.#batches.push(batch)
      this.#hold(this.#bytes + batch.length)
    } else this.#lost = true
    if (call === undefined) this.room = this.#bytes < Math.max(this.#keepBytes, batch.length)
    else {
      if (this.#keeps) this.#sent = this.#batches.length
      this.room = call.write(batch)
      this.#yield()
    }
  }

  /** The gateway half-closed. */
  halfClose(call: RequestSink | undefined): void {
    this.#halfClosed = true
    call?.halfClose()
  }

  /** Sends everything on a new call. */
  sendAll(call: RequestSink): void {
    this.room = true
    for (const batch of this.#batches) this.room = call.write(batch)
    this.#sent = this.#batches.length
    if (!this.#keeps) this.#drop()
    else this.#yield()
    if (this.#halfClosed) call.halfClose()
  }

  /** The call is over and there will be another: nothing has been sent on that one. */
  rewind(): void {
    this.#sent = 0
  }

  /** Gives up the right to send again; what was not sent yet still waits. */
  forget(): void {
    this.#keeps = false
    this.#drop()
  }

  /** Drops everything: the stream is over. */
  clear(): void {
    this.#keeps = false
    this.#batches = []
    this.#sent = 0
    this.#hold(0)
  }

  /** What was sent is kept only to be sent again: that is given up first when all streams keep too much. */
  #yield(): void {
    if (this.#keeps && this.#bytes > 0 && this.#all.exceeded()) this.forget()
  }

  #hold(bytes: number): void {
    this.#all.add(bytes - this.#bytes)
    this.#bytes = bytes
  }

  #drop(): void {
    if (this.#sent > 0) this.#lost = true
    this.#batches.splice(0, this.#sent)
    this.#sent = 0
    let bytes = 0
    for (const batch of this.#batches) bytes += batch.length
    this.#hold(bytes)
  }
}
