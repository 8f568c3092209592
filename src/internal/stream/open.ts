import { Effect, type Scope } from "effect"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { first } from "../wire/metadata.ts"
import { Onward } from "./onward.ts"
import { ReplayedFrames } from "./replayedFrames.ts"
import type { Attempt, StreamUnderWay } from "./streamUnderWay.ts"

/** Sends a stream to the worker: what there is of its requests now, the rest as it comes. The scope cancels the call. */
export const open = (stream: StreamUnderWay, link: WorkerLink): Effect.Effect<Attempt, never, Scope.Scope> =>
  Effect.suspend(() => {
    const { call, env, limits, log, metadata, span, tally } = stream
    if (limits.hasWaited) span.event(tally.replays > 0 ? "replayed" : "sent")
    return Effect.map(link.open(new Onward(call, metadata, limits.deadlineAt, env.watchdog)), (worker) => {
      const now = env.watchdog.now()
      limits.open(now)
      stream.admissionMillis = now - stream.admittedAt - tally.heldMillis
      const known = tally.frames + (stream.noticed ? 1 : 0)
      // Before the first token only: so all frames that the gateway has are without one, and come again.
      const rewriting = known === 0 ? undefined : new ReplayedFrames(known, tally.frames, env.peek)
      const attempt: Attempt = { link, worker, rewriting, told: false }
      stream.attempt = attempt
      // Of a call that the link has refused at once, nothing is sent, so nothing is lost.
      if (!worker.isOver) log.sendAll(worker)
      const { attempted } = stream
      stream.attempted = undefined
      attempted?.openUnsafe()
      return attempt
    })
  })

/** The worker's headers go to the gateway as they come, unless it has some already. */
export const passHeaders = (stream: StreamUnderWay, { worker }: Attempt): void =>
  worker.whenHeaders((headers) => {
    if (stream.answered || stream.noticed || stream.attempt?.worker !== worker) return
    stream.answered = true
    stream.call.sendHeaders(headers, first(headers, "grpc-encoding"))
  })
