import type { FrameBatch, Metadata, ServerCall, Status } from "../../services/Wire.ts"

/** A call as it is: for those that change one thing about it. */
export class ForwardedCall implements ServerCall {
  protected readonly call: ServerCall

  constructor(call: ServerCall) {
    this.call = call
  }

  get path(): string {
    return this.call.path
  }
  get metadata(): Metadata {
    return this.call.metadata
  }
  get timeoutMillis(): number | undefined {
    return this.call.timeoutMillis
  }
  get arrivedAt(): number {
    return this.call.arrivedAt
  }
  get encoding(): string | undefined {
    return this.call.encoding
  }
  get peer(): ServerCall["peer"] {
    return this.call.peer
  }
  get takesSingleFrames(): boolean | undefined {
    return this.call.takesSingleFrames
  }
  get pendingBytes(): number {
    return this.call.pendingBytes
  }
  get requests(): ServerCall["requests"] {
    return this.call.requests
  }
  ready(): boolean {
    return this.call.ready()
  }
  get isHalfClosed(): boolean {
    return this.call.isHalfClosed
  }
  get writable(): ServerCall["writable"] {
    return this.call.writable
  }
  sendHeaders(metadata: Metadata, encoding?: string): void {
    this.call.sendHeaders(metadata, encoding)
  }
  write(batch: FrameBatch): boolean {
    return this.call.write(batch)
  }
  end(status: Status, delivery?: "flush" | "now"): void {
    this.call.end(status, delivery)
  }
}
