import { Clock, Data, Deferred, Effect, Exit, Latch, Scope } from "effect"
import { LinkError, type WorkerLink } from "../../services/WorkerChannel.ts"
import type { WorkerHealth } from "../../services/WorkerConnection.ts"
import { monotonicMillis } from "../monotonic.ts"
import { Evidence } from "./evidence.ts"
import * as Rpc from "./workerRpc.ts"

/** What a probe tells about a link. */
export type Verdict = Data.TaggedEnum<{
  Answer: { readonly health: WorkerHealth }
  /** No answer in time, but a frame came meanwhile or the transport acknowledged a PING: it is alive and busy. */
  Saturated: { readonly openCalls: number }
  Failed: { readonly reason: "HealthTimeout" | "HealthFailed"; readonly detail: string }
  /** The last of `failure_threshold` failures in a row, and nothing was heard since the first of them. */
  Hung: { readonly reason: "HealthTimeout" | "HealthFailed"; readonly detail: string }
  /** The session was closed before the probe came to an end. */
  Closed: {}
}>
export const Verdict = Data.taggedEnum<Verdict>()

/** Whether a worker may take over from one that serves. */
export const isReady = (verdict: Verdict): boolean =>
  verdict._tag === "Answer" && verdict.health.healthy && Rpc.reloadOf(verdict.health) === undefined

/** What an answer says of the worker. */
export const answered = (health: WorkerHealth, at: number): Evidence => {
  const reload = Rpc.reloadOf(health)
  return Evidence.Answered({
    at,
    healthy: health.healthy,
    reloading: reload !== undefined,
    etaMillis: reload?.etaMillis,
    detail: "the worker says healthy = false"
  })
}

/** Times in milliseconds. */
export interface SessionOptions {
  readonly intervalMillis: number
  /** For a dial, too. */
  readonly timeoutMillis: number
  readonly failureThreshold: number
  /** Calls that the worker has open on older links to it. */
  readonly callsBeside: () => number
  /** Told synchronously, once per probe. */
  readonly onVerdict: (session: WorkerSession, verdict: Verdict) => void
  /** Told in the turn in which the link takes no new calls any more, unless the session was closed before. */
  readonly onGone: (session: WorkerSession, error: LinkError) => void
}

/** One link from dial to end, and the probing of it. */
export interface WorkerSession {
  readonly link: WorkerLink
  readonly scope: Scope.Closeable
  /** Why the link takes no new calls any more. */
  gone: LinkError | undefined
  /** Deliberately closed or retired: what its link says from now on is no news. */
  closed: boolean
  /**
   * A Health call, one in flight at most, shared by all who ask at once. `counts`: whether its failure counts towards
   * `failure_threshold`; a probe that somebody else asked for must not end the link.
   */
  readonly probe: (counts: boolean) => Effect.Effect<Verdict>
  /** Probes now, and then at the interval, for as long as it runs. */
  readonly poll: Effect.Effect<never>
  /** Makes {@link poll} probe early: at once, or no sooner than the pause after the last probe. */
  readonly nudge: (when: "now" | "soon") => void
}

/** A wait shorter than this is over: no timer is finer, and fractions must not make the loop spin. */
const MIN_WAIT_MILLIS = 1
/** Least pause between two probes that a nudge "soon" asks for. */
const NUDGE_PAUSE_MILLIS = 1000

/**
 * The worker is told a limit so many times ours: a late probe is ended by our own clock. A wire or a worker that enforces
 * the deadline would be first now and then, and DEADLINE_EXCEEDED looks like an error of the worker's.
 */
const TOLD_LIMIT_FACTOR = 2

/** Dials a link into `scope` and watches it from then on. */
export const dial = Effect.fnUntraced(function*(
  opening: Effect.Effect<WorkerLink, LinkError, Scope.Scope>,
  scope: Scope.Closeable,
  options: SessionOptions
) {
  const { timeoutMillis } = options
  const detail = `accepted, and then silent for ${timeoutMillis / 1000}s`
  const link = yield* opening.pipe(
    Scope.provide(scope),
    Effect.timeoutOrElse({
      duration: timeoutMillis,
      orElse: () => Effect.fail(new LinkError({ fault: "DialTimeout", detail }))
    }),
    Effect.catchDefect((defect) => Effect.fail(new LinkError({ fault: "LinkBroken", detail: String(defect) })))
  )
  const session = yield* make(link, scope, options)
  yield* link.gone.pipe(
    Effect.map((error) => {
      session.gone = error
      if (!session.closed) options.onGone(session, error)
    }),
    Effect.forkIn(scope, { startImmediately: true })
  )
  return session
})

const make = Effect.fnUntraced(function*(link: WorkerLink, scope: Scope.Closeable, options: SessionOptions) {
  const monotonic = monotonicMillis(yield* Clock.Clock)
  let inFlight: { counts: boolean; readonly done: Deferred.Deferred<Verdict> } | undefined
  let failures = 0
  /** Signs of life that the transport gave when it was asked. */
  let acknowledged = 0
  /** One was asked for and has not come yet. */
  let asking = false
  const heardSoFar = (): number => link.timesHeard() + acknowledged
  const openCalls = (): number => link.openCalls() + options.callsBeside()
  /** {@link heardSoFar} as it was when the first probe of the present row of failures began. */
  let heardBeforeRow = 0
  const nudged = Latch.makeUnsafe(false)
  let started = 0
  /** When a nudge wants the next probe, if earlier than the interval. */
  let early = Number.POSITIVE_INFINITY

  const judge = (
    outcome: Verdict,
    heardBefore: number,
    counts: boolean
  ): Verdict => {
    if (outcome._tag !== "Failed") {
      failures = 0
      return outcome
    }
    const heard = heardSoFar()
    if (outcome.reason === "HealthTimeout" && heard > heardBefore) {
      failures = 0
      return Verdict.Saturated({ openCalls: openCalls() })
    }
    if (!counts) return outcome
    if (failures === 0) heardBeforeRow = heardBefore
    failures++
    if (failures < options.failureThreshold) return outcome
    failures = 0
    return outcome.reason === "HealthTimeout" && heard > heardBeforeRow
      ? Verdict.Saturated({ openCalls: openCalls() })
      : Verdict.Hung({
        reason: outcome.reason,
        detail: `${outcome.detail}, ${options.failureThreshold} times in a row${
          asking ? ", and no acknowledgement of a PING" : ""
        }`
      })
  }

  const call = Rpc.health(link, "", options.timeoutMillis * TOLD_LIMIT_FACTOR).pipe(
    Effect.match({
      onSuccess: (health): Verdict => Verdict.Answer({ health }),
      onFailure: (error): Verdict =>
        Verdict.Failed({ reason: "HealthFailed", detail: `Health ended with ${error.detail}` })
    }),
    Effect.catchDefect((defect) =>
      Effect.succeed<Verdict>(Verdict.Failed({ reason: "HealthFailed", detail: String(defect) }))
    ),
    Effect.timeoutOrElse({
      duration: options.timeoutMillis,
      orElse: () =>
        Effect.succeed<Verdict>(Verdict.Failed({
          reason: "HealthTimeout",
          detail: `no answer to Health within ${options.timeoutMillis / 1000}s`
        }))
    })
  )

  /**
   * The third witness, when Health was late, no frame came and calls are open: a sign of life of the transport. It is
   * waited for as long as for Health; one that was asked for before and is overdue is not waited for again. Whenever it
   * comes, it counts.
   */
  const ask = Effect.suspend(() => {
    const { ping } = link
    if (ping === undefined || asking || openCalls() === 0) return Effect.void
    asking = true
    const came = Latch.makeUnsafe(false)
    // Asked twice, since the peer may answer one kind of question only.
    return Effect.raceFirst(ping, Effect.andThen(Effect.sleep(options.timeoutMillis / 2), ping)).pipe(
      Effect.andThen(Effect.sync(() => {
        asking = false
        acknowledged++
        came.openUnsafe()
      })),
      Effect.forkIn(scope, { startImmediately: true }),
      Effect.andThen(Effect.timeoutOption(came.await, options.timeoutMillis)),
      Effect.asVoid
    )
  })

  const probe = (counts: boolean): Effect.Effect<Verdict> =>
    Effect.suspend(() => {
      if (session.closed) return Effect.succeed(Verdict.Closed())
      if (inFlight !== undefined) {
        inFlight.counts ||= counts
        return Deferred.await(inFlight.done)
      }
      const current = { counts, done: Deferred.makeUnsafe<Verdict>() }
      inFlight = current
      const heardBefore = heardSoFar()
      return call.pipe(
        Effect.tap((outcome) =>
          outcome._tag === "Failed" && outcome.reason === "HealthTimeout" && heardSoFar() === heardBefore
            ? ask
            : Effect.void
        ),
        Effect.onExit((exit) =>
          Effect.sync(() => {
            inFlight = undefined
            const verdict = Exit.isSuccess(exit) && !session.closed
              ? judge(exit.value, heardBefore, current.counts)
              : Verdict.Closed()
            if (verdict._tag !== "Closed") options.onVerdict(session, verdict)
            Deferred.doneUnsafe(current.done, Effect.succeed(verdict))
          })
        ),
        Effect.forkIn(scope, { startImmediately: true }),
        Effect.andThen(Deferred.await(current.done))
      )
    })

  const poll = Effect.gen(function*() {
    while (true) {
      started = monotonic()
      early = Number.POSITIVE_INFINITY
      yield* probe(true)
      while (true) {
        const wait = Math.min(started + options.intervalMillis, early) - monotonic()
        if (wait < MIN_WAIT_MILLIS) break
        nudged.closeUnsafe()
        yield* Effect.timeoutOption(nudged.await, wait)
      }
    }
  })

  const session: WorkerSession = {
    link,
    scope,
    gone: undefined,
    closed: false,
    probe,
    poll,
    nudge: (when) => {
      early = Math.min(early, when === "now" ? 0 : started + NUDGE_PAUSE_MILLIS)
      nudged.openUnsafe()
    }
  }
  return session
})
