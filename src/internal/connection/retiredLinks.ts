import { Effect, Exit, Fiber, Scope } from "effect"
import type { WorkerSession } from "./workerSession.ts"

/** How often a retired link is asked whether its last call has ended, in milliseconds. */
const CHECK_MILLIS = 1000

/**
 * The ends of links. One that is retired takes no new calls, and its running ones finish: they keep threads of the worker
 * busy, which those of its links that are younger have to know.
 */
export interface RetiredLinks {
  /** Closes a link: its running calls end. */
  readonly close: (session: WorkerSession) => void
  /** Lets the running calls of a link finish, then closes it. Each call has time limits of its own, so this ends. */
  readonly retire: (session: WorkerSession, age: number) => void
  /** Calls that are open on retired links to the worker that had the address at this age. */
  readonly callsAt: (age: number) => number
}

/** None yet. `graceMillis`: how long a retired link lives at most. */
export const make = Effect.fnUntraced(
  function*(graceMillis: () => number): Effect.fn.Return<RetiredLinks, never, Scope.Scope> {
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    const track = Fiber.runIn(yield* Effect.scope)
    const ages = new Map<WorkerSession, number>()

    const close = (session: WorkerSession): void => {
      session.closed = true
      ages.delete(session)
      track(fork(Scope.close(session.scope, Exit.void), { uninterruptible: true }))
    }

    const retire = (session: WorkerSession, age: number): void => {
      session.closed = true
      ages.set(session, age)
      const isIdle = Effect.map(Effect.sleep(CHECK_MILLIS), () => session.link.openCalls() === 0)
      track(fork(
        Effect.repeat(isIdle, { until: (idle) => idle }).pipe(
          Effect.timeoutOption(graceMillis()),
          Effect.andThen(Effect.sync(() => close(session)))
        )
      ))
    }

    const callsAt = (age: number): number => {
      let count = 0
      for (const [session, itsAge] of ages) {
        if (itsAge === age) count += session.link.openCalls()
      }
      return count
    }
    return { close, retire, callsAt }
  }
)
