import { Effect } from "effect"

/** Milliseconds between two looks. */
const LOOK_MILLIS = 100
/** A process that is busy for less than this share of the time has next to nothing to do; without a stream it is 0.007. */
const IDLE_SHARE = 0.03
/** Busy milliseconds beyond that share after which there is work to do; the first scrape takes 80. */
const ENOUGH_MILLIS = 250
/** In a look with less than this share of it a start does nothing. */
const QUIET_SHARE = 0.1
/** After so many of these in a row a start is over. */
const QUIET_LOOKS = 10

/** Milliseconds between two looks at a process that has had work to do. */
const REST_LOOK_MILLIS = 500
/** In one of these it worked, if it was busy for more than this share of it. */
const WORK_SHARE = 0.25
/** It has next to no streams, if it was busy for less. */
const REST_SHARE = 0.02
/** After so many of these in a row the work is over: code that is warm is worth more than memory until then. */
const REST_LOOKS = 120

/** A gauge of the event loop: the share of the time since the last look in which it did something, 0 to 1. */
export const loopShare = (): () => number => {
  let last = performance.eventLoopUtilization()
  return () => {
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, last)
    last = now
    return utilization
  }
}

/**
 * Waits until a process that has started has work to do, which may be never: under full load 0.3 s, with a fifth of it 1.5 s.
 * If there is a quiet second before, `onQuiet` is run, once. `share` as of {@link loopShare}.
 */
export const whenBusy = (share: () => number, onQuiet: () => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    /** A bucket that leaks what an idle process does. Milliseconds. */
    let busy = 0
    let quiet = 0
    const look = (): boolean => {
      const now = share()
      busy = Math.max(0, busy + (now - IDLE_SHARE) * LOOK_MILLIS)
      if (quiet < QUIET_LOOKS) {
        quiet = now < QUIET_SHARE ? quiet + 1 : 0
        if (quiet === QUIET_LOOKS) onQuiet()
      }
      return busy >= ENOUGH_MILLIS
    }
    return Effect.sync(look).pipe(
      Effect.delay(LOOK_MILLIS),
      Effect.repeat({ until: (enough) => enough }),
      Effect.asVoid
    )
  })

/**
 * Runs `onRest` a minute after a process that worked has stopped, each time. `share` as of {@link loopShare}.
 */
export const wheneverItRests = (share: () => number, onRest: () => void): Effect.Effect<never> =>
  Effect.suspend(() => {
    let worked = false
    let resting = 0
    const look = (): void => {
      const busy = share()
      worked ||= busy > WORK_SHARE
      resting = busy < REST_SHARE ? resting + 1 : 0
      if (!worked || resting < REST_LOOKS) return
      worked = false
      onRest()
    }
    return Effect.sync(look).pipe(Effect.delay(REST_LOOK_MILLIS), Effect.forever)
  })
