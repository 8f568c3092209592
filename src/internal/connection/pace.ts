import { Duration, Effect, Pull, Schedule } from "effect"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { LinkError } from "../../services/WorkerChannel.ts"

/** After which end of what the next dial is waited for: a link that was lost, a worker that may not serve yet, or a dial that failed. */
export type Before = "lost" | "unready" | LinkError

/** What the schedule says. `eager`: a server binds before it listens; `growing`, once `exhausted`, then `steady` for ever. */
export type Phase = "eager" | "growing" | "exhausted" | "steady"

/** The next dial is planned. */
export interface Plan {
  readonly phase: Phase
  /** How often the schedule has been asked since it began: 1 is the first time. */
  readonly attempt: number
  /** Until the dial. */
  readonly delayMillis: number
  readonly before: Before
}

/** Waits of 20 to 320 ms: a server that has bound its socket file listens within them, or not soon. */
const EAGER = { first: "20 millis", times: 5 } as const

const phase = (name: Phase) => Schedule.map((): Phase => name)

/**
 * When to dial again (docs/design.md §4), as one Schedule.
 *
 * `eager` begins with a few quick steps, which a lost link ends: the worker did listen. Then `max_reconnect_attempts`
 * tries, from `reconnect_delay_secs` with ±20 % jitter, doubling up to the pace of what follows: one each
 * `check_interval_secs`, for ever. With `max_reconnect_attempts = 0` the waits that grow never end.
 */
export const schedule = (health: Settings["health"], eager: boolean): Schedule.Schedule<Phase, Before> => {
  const steady = Duration.seconds(health.check_interval_secs)
  const delay = Duration.seconds(health.reconnect_delay_secs)
  const growing = Schedule.min([
    Schedule.exponential(delay).pipe(Schedule.jittered),
    Schedule.spaced(Duration.max(steady, delay))
  ]).pipe(phase("growing"))
  const paced = health.max_reconnect_attempts === 0 ? growing : Schedule.concat(
    growing.pipe(Schedule.upTo({ times: health.max_reconnect_attempts })),
    Schedule.spaced(steady).pipe(Schedule.map(({ output }): Phase => output === 0 ? "exhausted" : "steady"))
  )
  if (!eager) return paced
  return Schedule.exponential(EAGER.first).pipe(
    phase("eager"),
    Schedule.upTo({ times: EAGER.times }),
    Schedule.setInputType<Before>(),
    Schedule.while(({ input }) => Effect.succeed(input !== "lost")),
    Schedule.concat(paced)
  )
}

/** The {@link schedule} as something that is waited for and begun anew. */
export interface Pace {
  /** Plans the next dial, tells the plan, and waits for its time. */
  readonly pause: (before: Before) => Effect.Effect<void>
  readonly begin: (how: "eager" | "calm") => Effect.Effect<void>
}

/** Waits that nobody has begun are calm. `onPlan` is told before each. */
export const make = Effect.fnUntraced(
  function*(health: Settings["health"], onPlan: (plan: Plan) => Effect.Effect<void>): Effect.fn.Return<Pace> {
    const steps = (eager: boolean) =>
      Schedule.toStepWithSleep(
        schedule(health, eager).pipe(
          Schedule.modifyDelay(({ attempt, duration, input, output }) => {
            const delayMillis = Math.round(Duration.toMillis(duration))
            return Effect.as(onPlan({ phase: output, attempt, delayMillis, before: input }), delayMillis)
          })
        )
      )
    let step = yield* steps(false)
    return {
      pause: (before) => Pull.catchDone(Effect.asVoid(Effect.suspend(() => step(before))), () => Effect.void),
      begin: (how) =>
        Effect.map(steps(how === "eager"), (begun) => {
          step = begun
        })
    }
  }
)
