import { Effect } from "effect"
import { payloads } from "../../src/internal/wire/frames.ts"
import type { CallHandler } from "../../src/services/GrpcServer.ts"
import type { Departure, FrameBatch, RequestListener, ServerCall, Status } from "../../src/services/Wire.ts"
import { deferred, type Inbox, Recorder } from "./events.ts"

/** A gateway's call as its handler has it, answered from the test. */
export class ServerSideCall implements RequestListener {
  readonly call: ServerCall
  readonly requests = new Recorder<Uint8Array>()
  readonly batches: Array<FrameBatch> = []
  readonly halfClosed = deferred<void>()
  readonly departed = deferred<Departure>()
  /** The handler's fiber was interrupted. */
  readonly interrupted = deferred<void>()
  readonly drained = new Recorder<void>()
  /** What `onFrames` answers. */
  full = false
  readonly #done: () => void

  constructor(call: ServerCall, done: () => void) {
    this.call = call
    this.#done = done
  }

  onFrames(batch: FrameBatch): boolean {
    this.batches.push(batch)
    for (const message of payloads(batch)) this.requests.push(message)
    return !this.full
  }

  onHalfClose(): void {
    this.halfClosed.resolve()
  }

  onDrain(): void {
    this.drained.push()
  }

  onDeparture(departure: Departure): void {
    this.departed.resolve(departure)
  }

  end(status: Status, delivery?: "flush" | "now"): void {
    this.call.end(status, delivery)
    this.#done()
  }
}

/** A handler that hands every call to the test and waits. */
export const handToTest = (calls: Inbox<ServerSideCall>): CallHandler => (call) =>
  Effect.callback<void>((resume) => {
    const side = new ServerSideCall(call, () => resume(Effect.void))
    calls.offer(side)
    return Effect.sync(() => side.interrupted.resolve())
  })
