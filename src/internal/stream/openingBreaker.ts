import { Duration, Effect, Exit, Fiber, Stream } from "effect"
import { CircuitBreaker } from "effect/persistence"
import * as E from "../../services/StreamError.ts"
import type { StreamMetrics } from "../../services/StreamMetrics.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import type { Opening } from "./streamEnv.ts"

const KEY = "worker"
/** Calls that break together with their link are one failure of the worker, not one each. */
const SAME_BREAK_MILLIS = 50
/** While the one probe of a half-open circuit is under way. */
const PROBING_RETRY_MILLIS = 1000

const circuitNames = { Closed: "closed", Open: "open", HalfOpen: "half_open" } as const

/**
 * Effect's circuit breaker around the opening of a stream. While all is well a stream does not pass through it at all;
 * only after a failure is every opening admitted and recorded by it, until it is closed again by a success.
 */
export const make = Effect.fnUntraced(function*(
  options: { readonly tripAfter: number; readonly openMillis: number },
  metrics: StreamMetrics["Service"],
  now: () => number
) {
  const breaker = yield* CircuitBreaker.make({
    tripPolicy: CircuitBreaker.consecutive(options.tripAfter),
    openDuration: Duration.millis(options.openMillis)
  })
  const track = Fiber.runIn(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  metrics.circuitState("closed")
  let circuit: { readonly to: keyof typeof circuitNames; readonly at: number } = { to: "Closed", at: now() }
  let onChange = (): void => {}
  yield* breaker.transitions.pipe(
    Stream.runForEach((transition) =>
      Effect.sync(() => {
        metrics.circuitState(circuitNames[transition.to])
        circuit = { to: transition.to, at: now() }
        onChange()
      }).pipe(
        Effect.andThen(
          Effect.logWarning("circuit breaker").pipe(
            Effect.annotateLogs({ from: circuitNames[transition.from], to: circuitNames[transition.to] })
          )
        )
      )
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  const classify = (exit: Exit.Exit<Opening>): CircuitBreaker.Outcome => {
    if (Exit.isFailure(exit) || exit.value === "ignored") return CircuitBreaker.ignored
    return exit.value === "succeeded" ? CircuitBreaker.success : CircuitBreaker.failure()
  }
  let watchful = false
  /** Openings that the breaker looks at now: in a half-open circuit, its one probe. */
  let guarded = 0
  let lastBreak: { readonly link: WorkerLink | undefined; readonly at: number } | undefined

  const record = (opening: Opening, link: WorkerLink | undefined): void => {
    if (opening !== "failed") return
    const at = now()
    const same = lastBreak !== undefined && lastBreak.link === link && at - lastBreak.at < SAME_BREAK_MILLIS
    lastBreak = { link, at }
    if (same) return
    watchful = true
    track(run(Effect.ignore(breaker.execute(Effect.succeed(opening), { key: KEY, classify }))))
  }
  const probing = (change: 1 | -1) =>
    Effect.sync(() => {
      guarded += change
      onChange()
    })
  const guard = <R>(opening: Effect.Effect<Opening, never, R>): Effect.Effect<void, E.CircuitOpen, R> =>
    Effect.acquireUseRelease(probing(1), () => guardOne(opening), () => probing(-1))
  const guardOne = <R>(opening: Effect.Effect<Opening, never, R>): Effect.Effect<void, E.CircuitOpen, R> =>
    breaker.execute(opening, { key: KEY, classify }).pipe(
      Effect.map((opening) => {
        if (opening === "succeeded") watchful = false
      }),
      Effect.mapError(({ reason }) =>
        new E.CircuitOpen({
          retryAfterMillis: reason._tag === "CircuitOpen"
            ? Duration.toMillis(reason.retryAfter)
            : PROBING_RETRY_MILLIS
        })
      )
    )
  /** Why a new stream is not even admitted; a stream that loses a race for the one probe is told by {@link guard}. */
  const refusal: Effect.Effect<E.CircuitOpen | undefined> = breaker.state(KEY).pipe(
    Effect.map((state) =>
      state._tag === "Open" && Duration.toMillis(state.retryAfter) > 0
        ? new E.CircuitOpen({ retryAfterMillis: Duration.toMillis(state.retryAfter) })
        : state._tag === "HalfOpen" && state.probing
        ? new E.CircuitOpen({ retryAfterMillis: PROBING_RETRY_MILLIS })
        : undefined
    ),
    Effect.orElseSucceed(() => undefined)
  )
  return {
    record,
    guard,
    refusal,
    isWatchful: () => watchful,
    /** Milliseconds for which a new stream is still refused; 0: it is not. While one stream probes, each time anew. */
    openMillis: (): number => {
      if (circuit.to === "Closed") return 0
      if (circuit.to === "HalfOpen") return guarded > 0 ? PROBING_RETRY_MILLIS : 0
      return Math.max(0, circuit.at + options.openMillis - now())
    },
    onChange: (listener: () => void) => {
      onChange = listener
    }
  }
})

export type OpeningBreaker = Effect.Success<ReturnType<typeof make>>
