import { Effect } from "effect"
import type { StreamError } from "../../services/StreamError.ts"
import type { CallEnd } from "../../services/Wire.ts"
import { workerLost } from "./dismissal.ts"
import { holdPatience } from "./holdPatience.ts"
import { hold } from "./seek.ts"
import type { StreamUnderWay } from "./streamUnderWay.ts"

/** A worker that refuses a stream unseen is asked again this often, each time after the waiting room's pause. */
const MAX_REFUSALS = 10

/** What decides whether a stream whose worker is lost may be sent again. */
export interface Broken {
  readonly reason: CallEnd["reason"]
  /** Token chunks that the gateway has. */
  readonly delivered: number
  readonly replayable: boolean
  readonly replays: number
  readonly refusals: number
}

/** Before the first token only: a few times when the worker has not seen it, else once. */
export const mayReplay = ({ delivered, reason, refusals, replayable, replays }: Broken): boolean =>
  delivered === 0 && replayable && (reason === "refused" ? refusals < MAX_REFUSALS : replays === 0)

/** Makes a stream ready to be sent again; fails when that may not be. */
export const replay = (stream: StreamUnderWay, { reason, status }: CallEnd): Effect.Effect<void, StreamError> =>
  Effect.suspend(() => {
    const { env, log, refusals, tally } = stream
    const { chunks: delivered, replays } = tally
    if (!mayReplay({ reason, delivered, replayable: log.replayable, replays, refusals })) {
      return Effect.fail(workerLost(delivered, stream.retryAfterMillis, reason, status))
    }
    if (reason === "refused") stream.refusals++
    else {
      tally.replays++
      env.metrics.replayed()
    }
    log.rewind()
    // By way of the waiting room, whose pause gives the status time to learn that the link is gone.
    return hold(
      stream,
      holdPatience(true, env),
      "after a pause",
      () => workerLost(0, stream.retryAfterMillis, reason, status)
    )
  })
