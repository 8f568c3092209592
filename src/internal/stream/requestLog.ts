import type { FrameBatch, WorkerCall } from "../../services/Wire.ts"

/**
 * The request frames of one stream. They wait here while there is no call to send them on; and they stay, up to a number
 * of bytes, until the first token has been handed to the gateway, so that the stream can be sent again. A stream that
 * outgrows the limit loses only its right to be sent again.
 */
export class RequestLog {
  readonly #keepBytes: number
  #batches: Array<FrameBatch> = []
  /** Batches already given to the current call. */
  #sent = 0
  #keeps = true
  /** Something was sent and is not kept. */
  #lost = false
  #halfClosed = false
  /** Bytes that this log holds in memory. */
  bytes = 0

  /** Whether more may be read: `false` when what waits is a lot, or the call that took the last batch is full. */
  room = true

  /** `keepBytes`: `[reload] replay_max_bytes`; 0 keeps nothing. */
  constructor(keepBytes: number) {
    this.#keepBytes = keepBytes
    if (keepBytes === 0) this.#keeps = false
  }

  /** Everything that came so far can be sent again: it is kept, or has not been sent yet. */
  get replayable(): boolean {
    return !this.#lost
  }

  /** Takes a batch; with a call it is sent at once. */
  push(batch: FrameBatch, call: WorkerCall | undefined): void {
    if (this.#keeps && this.bytes + batch.length > this.#keepBytes) this.forget()
    if (this.#keeps || call === undefined) {
      this.#batches.push(batch)
      this.bytes += batch.length
    } else this.#lost = true
    if (call === undefined) this.room = this.bytes < Math.max(this.#keepBytes, batch.length)
    else {
      if (this.#keeps) this.#sent = this.#batches.length
      this.room = call.write(batch)
    }
  }

  /** The gateway half-closed. */
  halfClose(call: WorkerCall | undefined): void {
    this.#halfClosed = true
    call?.halfClose()
  }

  /** Sends everything on a new call. */
  sendAll(call: WorkerCall): void {
    this.room = true
    for (const batch of this.#batches) this.room = call.write(batch)
    this.#sent = this.#batches.length
    if (!this.#keeps) this.#drop()
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

  #drop(): void {
    if (this.#sent > 0) this.#lost = true
    this.#batches.splice(0, this.#sent)
    this.#sent = 0
    this.bytes = 0
    for (const batch of this.#batches) this.bytes += batch.length
  }
}
