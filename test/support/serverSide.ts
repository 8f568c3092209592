import { Deferred, Effect, Exit } from "effect"
import { payloads } from "../../src/internal/wire/frames.ts"
import type { CallHandler } from "../../src/services/GrpcServer.ts"
import { errorOf } from "../../src/services/StreamError.ts"
import type { Departure, FrameBatch, ServerCall, Status } from "../../src/services/Wire.ts"
import { deferred, type Inbox, Recorder } from "./events.ts"
import { listenToRequests, type Requested } from "./listening.ts"

/** A gateway's call as its handler has it, answered from the test. */
export class ServerSideCall implements Requested {
  readonly call: ServerCall
  readonly requests = new Recorder<Uint8Array>()
  readonly batches: Array<FrameBatch> = []
  readonly halfClosed = deferred<void>()
  /** Why its handler was interrupted: `rejected` when the server has answered by itself. */
  readonly departed = deferred<Departure | "rejected">()
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

  /** Begins to read, and goes on when it has been full. */
  read(): void {
    listenToRequests(this.call, this)
  }

  /** Writes; `drained` hears when there is room again. */
  write(batch: FrameBatch): boolean {
    const room = this.call.write(batch)
    if (!room) Effect.runFork(Effect.map(this.call.writable, () => this.drained.push()))
    return room
  }

  end(status: Status, delivery?: "flush" | "now"): void {
    this.call.end(status, delivery)
    this.#done()
  }
}

/** A handler that hands every call to the test and waits. */
export const handToTest = (calls: Inbox<ServerSideCall>): CallHandler => (call) =>
  Effect.suspend(() => {
    const done = Deferred.makeUnsafe<void>()
    const side = new ServerSideCall(call, () => Deferred.doneUnsafe(done, Effect.void))
    calls.offer(side)
    return Effect.onExit(Deferred.await(done), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit)) return
        const why = errorOf(exit.cause)
        if (why?._tag === "GatewayGone") side.departed.resolve(why.departure)
        else if (why?._tag === "Rejected") side.departed.resolve("rejected")
        side.interrupted.resolve()
      }))
  })
