import type { Departure, FrameBatch, Metadata, RequestListener, ServerCall, Status } from "../../services/Wire.ts"

/** Decides on the first batch of a call: `decided` is called once, with the refusal if it is one. Answers how to stop it. */
export type Decide = (
  first: FrameBatch,
  encoding: string | undefined,
  decided: (refusal: Status | undefined) => void
) => () => void

/**
 * A call whose first message is looked at before the sidecar hears of it. Until then it is one of those that have not sent a
 * message: bounded in number and time, without a place, without a record.
 */
export class AdmittedCall implements ServerCall, RequestListener {
  readonly #call: ServerCall
  readonly #decide: Decide
  readonly #kept: Array<FrameBatch> = []
  #listener: RequestListener | undefined
  #state: "silent" | "asking" | "handing" | "open" | "over" = "silent"
  #stop: (() => void) | undefined
  #halfClosed = false
  #wanted = false

  constructor(call: ServerCall, decide: Decide) {
    this.#call = call
    this.#decide = decide
  }

  start(listener: RequestListener): void {
    this.#listener = listener
    this.#call.start(this)
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.#state === "open") return this.#listener?.onFrames(batch) ?? true
    if (this.#state === "over") return true
    this.#kept.push(batch)
    if (this.#state !== "silent") return false
    this.#state = "asking"
    const stop = this.#decide(batch, this.#call.encoding, (refusal) => this.#decided(refusal))
    if (this.#isAsking) this.#stop = stop
    return false
  }

  onHalfClose(): void {
    if (this.#state === "asking" || this.#state === "handing") this.#halfClosed = true
    else this.#listener?.onHalfClose()
  }

  onDrain(): void {
    this.#listener?.onDrain()
  }

  onDeparture(departure: Departure, answered?: Status): void {
    this.#close()
    this.#listener?.onDeparture(departure, answered)
  }

  resume(): void {
    if (this.#state === "handing") this.#wanted = true
    else this.#call.resume()
  }

  end(status: Status, delivery?: "flush" | "now"): void {
    this.#close()
    this.#call.end(status, delivery)
  }

  get #isAsking(): boolean {
    return this.#state === "asking"
  }

  #close(): void {
    this.#state = "over"
    this.#stop?.()
    this.#stop = undefined
  }

  #decided(refusal: Status | undefined): void {
    if (!this.#isAsking) return
    this.#stop = undefined
    if (refusal !== undefined) {
      this.end(refusal)
      this.#listener?.onDeparture("rejected", refusal)
      return
    }
    this.#state = "handing"
    let more = true
    for (const batch of this.#kept.splice(0)) more = this.#listener?.onFrames(batch) ?? true
    if (this.#state !== "handing") return
    this.#state = "open"
    if (this.#halfClosed) this.#listener?.onHalfClose()
    else if (more || this.#wanted) this.#call.resume()
  }

  get path(): string {
    return this.#call.path
  }
  get metadata(): Metadata {
    return this.#call.metadata
  }
  get timeoutMillis(): number | undefined {
    return this.#call.timeoutMillis
  }
  get arrivedAt(): number {
    return this.#call.arrivedAt
  }
  get encoding(): string | undefined {
    return this.#call.encoding
  }
  get peer(): ServerCall["peer"] {
    return this.#call.peer
  }
  get takesSingleFrames(): boolean | undefined {
    return this.#call.takesSingleFrames
  }
  get pendingBytes(): number {
    return this.#call.pendingBytes
  }
  sendHeaders(metadata: Metadata, encoding?: string): void {
    this.#call.sendHeaders(metadata, encoding)
  }
  write(batch: FrameBatch): boolean {
    return this.#call.write(batch)
  }
}
