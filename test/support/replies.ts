import { payloads } from "../../src/internal/wire/frames.ts"
import type { CallEnd, CallStart, FrameBatch, Metadata } from "../../src/services/Wire.ts"
import type { WorkerLink } from "../../src/services/WorkerChannel.ts"
import { deferred, Recorder } from "./events.ts"
import { listenTo, type Replied, type TestCall } from "./listening.ts"

export const PREDICT = "/cy.llm.AiInference/StreamPredict"

/** A call to the worker, as whoever made it hears it. */
export class Replies implements Replied {
  /** Messages without their prefixes. */
  readonly messages = new Recorder<Uint8Array>()
  readonly batches: Array<FrameBatch> = []
  readonly headers = deferred<Metadata>()
  readonly drained = new Recorder<void>()
  /** What was heard, in order. */
  readonly order: Array<"headers" | "frames" | "end"> = []
  readonly #end = deferred<CallEnd>()
  /** What `onFrames` answers. */
  full = false
  ends = 0

  get end(): Promise<CallEnd> {
    return this.#end.promise
  }

  get ended(): boolean {
    return this.ends > 0
  }

  onHeaders(metadata: Metadata): void {
    this.order.push("headers")
    this.headers.resolve(metadata)
  }

  onFrames(batch: FrameBatch): boolean {
    this.order.push("frames")
    this.batches.push(batch)
    for (const message of payloads(batch)) this.messages.push(message)
    return !this.full
  }

  onEnd(end: CallEnd): void {
    this.order.push("end")
    this.ends++
    this.headers.reject(new Error("the call has ended without headers"))
    this.messages.fail(new Error(`the call has ended (${end.reason} ${end.status.code} ${end.status.message})`))
    this.#end.resolve(end)
  }

  onDrain(): void {
    this.drained.push()
  }
}

/** Opens a call on a link. */
export const openCall = (
  link: WorkerLink,
  start: Partial<CallStart> = {}
): { readonly call: TestCall; readonly replies: Replies } => {
  const replies = new Replies()
  const call = listenTo(link, { path: PREDICT, metadata: {}, timeoutMillis: undefined, ...start }, replies)
  return { call, replies }
}
