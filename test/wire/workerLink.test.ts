import { Effect, Layer, Queue, type Scope } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as GrpcJsWorkerChannel from "../../src/layers/GrpcJsWorkerChannel.ts"
import * as Http2WorkerChannel from "../../src/layers/Http2WorkerChannel.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import * as Status from "../../src/services/Status.ts"
import { WorkerChannel } from "../../src/services/WorkerChannel.ts"
import { type Answer, Messages, ScriptedWorker, Timeline } from "../../src/testing.ts"
import { type LinkBench, type PeerCall, workerLinkContract } from "../suites/workerLinkContract.ts"
import { deferred, Inbox } from "../support/events.ts"
import { settings } from "../support/fakeServices.ts"
import { TestWorker, type WorkerSideCall } from "../support/testWorker.ts"

/** A worker process on a socket, by one of the wires. */
const overSocket = (
  layer: Layer.Layer<WorkerChannel, never, SidecarConfig>
): Effect.Effect<LinkBench, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "cyl-"))),
      (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
    )
    const socketPath = path.join(folder, "w.sock")
    const worker = yield* Effect.acquireRelease(
      Effect.promise(() => TestWorker.start(socketPath, "http2")),
      (worker) => Effect.promise(() => worker.kill())
    )
    const channel = yield* WorkerChannel.pipe(
      Effect.provide(layer),
      Effect.provideService(SidecarConfig, settings({ server: { worker_uds: `unix://${socketPath}` } }))
    )
    const calls = new Map<PeerCall, WorkerSideCall>()
    return {
      link: yield* channel.dial,
      nextCall: async () => {
        const call = await worker.nextCall()
        const peer: PeerCall = {
          send: (...messages) => call.send(...messages),
          end: (code, message) => call.end(code, message),
          cancelled: call.cancelled.promise
        }
        calls.set(peer, call)
        return peer
      },
      die: Effect.promise(() => worker.kill()),
      goAway: (peer) => Effect.sync(() => calls.get(peer)?.goaway(0)),
      freeze: Effect.sync(() => worker.signal("SIGSTOP")),
      thaw: Effect.sync(() => worker.signal("SIGCONT"))
    }
  })

type Step = ReadonlyArray<Uint8Array> | { readonly code: number; readonly message: string }

/** The scripted worker, told step by step. */
const scripted: Effect.Effect<LinkBench, unknown, Scope.Scope> = Effect.gen(function*() {
  const calls = new Inbox<PeerCall>()
  const answer: Answer.Answer = (side) =>
    Effect.gen(function*() {
      const steps = yield* Queue.unbounded<Step>()
      const cancelled = deferred<void>()
      calls.offer({
        send: (...messages) => void Queue.offerUnsafe(steps, messages),
        end: (code, message) => void Queue.offerUnsafe(steps, { code, message }),
        cancelled: cancelled.promise
      })
      while (true) {
        const step = yield* Effect.onInterrupt(Queue.take(steps), () => Effect.sync(() => cancelled.resolve()))
        if ("code" in step) return Status.make(step.code, step.message)
        yield* side.send(Messages.framed(...step))
      }
    })
  const context = yield* Layer.build(ScriptedWorker.layer({ answer }))
  const worker = yield* ScriptedWorker.ScriptedWorker.pipe(Effect.provide(context))
  const channel = yield* WorkerChannel.pipe(Effect.provide(context))
  return {
    link: yield* channel.dial,
    nextCall: () => calls.take(),
    die: worker.perform(Timeline.Action.Die()),
    goAway: () => worker.perform(Timeline.Action.GoAway()),
    freeze: worker.perform(Timeline.Action.Hang()),
    thaw: worker.perform(Timeline.Action.Wake())
  }
})

workerLinkContract("Http2WorkerChannel", overSocket(Http2WorkerChannel.layer))
workerLinkContract("GrpcJsWorkerChannel", overSocket(GrpcJsWorkerChannel.layer))
workerLinkContract("ScriptedWorker", scripted)
