import { Clock, Effect, Fiber, type Scope } from "effect"
import { turnMillis } from "../monotonic.ts"
import { Roster } from "../roster.ts"

/** Something that has to be looked at when its time has come. */
export interface Watched {
  /** Its place among those that are watched; the watchdog's to write. -1 at first. */
  watchPlace: number
  /** Monotonic milliseconds of the next look; `Infinity`: none. */
  dueAt(): number
  /** The time has come. May remove itself, and may have been postponed by the time the look happens. */
  due(now: number): void
}

/**
 * One timer for all streams. A stream's deadline, idle, hold and slow-reader limits lie minutes ahead and are moved by
 * every frame; a timer for each of them would cost more than the stream. So the due times are plain fields, and one
 * sleeper wakes for the earliest that was known when it went to sleep; a later one costs nothing, an earlier one sends
 * it to sleep anew.
 */
export interface Watchdog {
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly add: (watched: Watched) => void
  readonly remove: (watched: Watched) => void
  /** The due time of something watched moved nearer. */
  readonly nearer: (dueAt: number) => void
}

/** A watchdog whose sleeper lives in the current scope. */
export const make: Effect.Effect<Watchdog, never, Scope.Scope> = Effect.gen(function*() {
  const now = turnMillis(yield* Clock.Clock)
  const track = Fiber.runIn(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const all = new Roster<Watched>()
  let wakeAt = Number.POSITIVE_INFINITY
  let sleeper: Fiber.Fiber<void> | undefined

  const sleepUntil = (dueAt: number): void => {
    sleeper?.interruptUnsafe()
    wakeAt = dueAt
    const millis = Math.max(0, Math.ceil(dueAt - now()))
    sleeper = track(run(Effect.sleep(millis).pipe(Effect.andThen(Effect.sync(look)))))
  }
  const look = (): void => {
    sleeper = undefined
    wakeAt = Number.POSITIVE_INFINITY
    let next = Number.POSITIVE_INFINITY
    for (const watched of all.all()) {
      if (watched.dueAt() <= now()) watched.due(now())
      if (all.has(watched.watchPlace, watched)) next = Math.min(next, watched.dueAt())
    }
    if (next < wakeAt) sleepUntil(next)
  }
  const nearer = (dueAt: number): void => {
    if (dueAt < wakeAt) sleepUntil(dueAt)
  }
  return {
    now,
    add: (watched) => {
      if (!all.has(watched.watchPlace, watched)) watched.watchPlace = all.add(watched)
      nearer(watched.dueAt())
    },
    remove: (watched) => {
      all.remove(watched.watchPlace, watched)
    },
    nearer
  }
})
