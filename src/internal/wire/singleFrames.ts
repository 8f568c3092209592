import { Effect } from "effect"
import type { FrameBatch, FrameTaker } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "./frames.ts"

/** What is left of a batch whose first frames were handed over. */
export interface Rest {
  rest: FrameBatch | undefined
}

/** {@link singly}, handed to `taker` until it answers `false`. */
export const singlyWhile = <E>(
  replies: Effect.Effect<readonly [FrameBatch], E>,
  kept: Rest,
  taker: FrameTaker
): Effect.Effect<void, E> => {
  const next: Effect.Effect<void, E> = Effect.flatMap(
    singly(replies, kept),
    ([frame]) => taker.take(frame) ? next : Effect.void
  )
  return next
}

/**
 * Replies one by one, for a caller that takes them so: what arrived together and was not asked for waits in `kept`, uncounted.
 * The worker's window bounds it, since the worker is not read on meanwhile.
 */
export const singly = <E>(
  replies: Effect.Effect<readonly [FrameBatch], E>,
  kept: Rest
): Effect.Effect<readonly [FrameBatch], E> => {
  const cut = (batch: FrameBatch): readonly [FrameBatch] => {
    const end = PREFIX_BYTES + lengthAt(batch, 0)
    kept.rest = end < batch.length ? batch.subarray(end) : undefined
    return [kept.rest === undefined ? batch : batch.subarray(0, end)]
  }
  return Effect.suspend(() =>
    kept.rest === undefined ? Effect.map(replies, ([batch]) => cut(batch)) : Effect.succeed(cut(kept.rest))
  )
}
