import { type Cause, Data, Effect } from "effect"
import * as Status from "../../services/Status.ts"
import type { Status as GrpcStatus } from "../../services/Wire.ts"

/** A hook broke its word: it failed, died or did not answer. */
export class HookFailure extends Data.TaggedError("HookFailure")<{
  readonly hook: string
  /** In which part of it. */
  readonly part: "admit" | "replies" | "ended"
  readonly cause: Cause.Cause<unknown>
}> {}

/** What the caller is told; never the cause, which is the application's own. */
export const failureStatus = (hook: string): GrpcStatus =>
  Status.make(Status.Code.UNKNOWN, `A hook of the application failed: ${hook.slice(0, 100)}`, {
    "cy-reason": "hook_failed"
  })

/** Tells of each hook's failure once. A teller is for one part of the hooks. */
export const makeTeller = () => {
  const told = new Set<string>()
  return ({ cause, hook, part }: HookFailure): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (told.has(hook)) return Effect.void
      told.add(hook)
      return Effect.logError(
        `the stream hook "${hook}" failed in ${part}; its further failures there are not told`,
        cause
      )
    })
}

export type TellFailure = ReturnType<typeof makeTeller>
