import { Clock, Effect, Latch, Layer, Random, Scope, Stream } from "effect"
import * as Saying from "../internal/connection/connectionLog.ts"
import { remedyFor } from "../internal/connection/connectionRemedy.ts"
import { Evidence } from "../internal/connection/evidence.ts"
import { answerOf, noAnswer } from "../internal/connection/healthAnswer.ts"
import * as Pace from "../internal/connection/pace.ts"
import * as RetiredLinks from "../internal/connection/retiredLinks.ts"
import { retryAfter } from "../internal/connection/retryHint.ts"
import * as StatusCell from "../internal/connection/statusCell.ts"
import * as Supervision from "../internal/connection/supervision.ts"
import * as Session from "../internal/connection/workerSession.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { LinkError, WorkerChannel } from "../services/WorkerChannel.ts"
import { type DownReason, WorkerConnection, type WorkerHealth } from "../services/WorkerConnection.ts"
import { WorkerMetrics } from "../services/WorkerMetrics.ts"

/** What is remembered of the worker, whichever link it came by. */
interface Recollection {
  lastHealth: WorkerHealth | undefined
  saidSaturated: boolean
  saidLate: boolean
}

const make = Effect.gen(function*() {
  const channel = yield* WorkerChannel
  const settings = yield* SidecarConfig
  const metrics = yield* WorkerMetrics
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const scope = yield* Effect.scope
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const { health } = settings
  const wall = () => clock.currentTimeMillisUnsafe()
  const monotonic = monotonicMillis(clock)
  const stableMillis = Math.max(health.check_interval_secs, health.reconnect_delay_secs) * 1000

  const recollection: Recollection = { lastHealth: undefined, saidSaturated: false, saidLate: false }
  let now: Supervision.Supervision<Session.WorkerSession> = Supervision.initial
  const moved = Latch.makeUnsafe(false)

  /** The one writer of what is known. Who waits for it goes on after this turn. */
  const move = (next: typeof now): void => {
    if (next === now) return
    now = next
    fork(moved.release)
  }
  const until = (reached: () => boolean): Effect.Effect<void> =>
    Effect.suspend(() => reached() ? Effect.void : Effect.andThen(moved.await, until(reached)))

  const current = () => Supervision.sessionOf(now)
  const retired = yield* RetiredLinks.make(() => settings.server.first_token_timeout_secs * 1000)
  const status = yield* StatusCell.make({
    remedyOf: remedyFor(settings, channel.address),
    get maxReloadMillis() {
      return settings.reload.max_reload_secs * 1000
    },
    get maxRestartMillis() {
      return Math.max(settings.reload.hold_timeout_secs, settings.reload.hold_on_disconnect_secs) * 1000
    },
    onExpectedBack: () => current()?.nudge("now"),
    onChange: metrics.workerState
  })

  /** Told in the turn in which it is seen: from then on new streams find no link. */
  const lose = (session: Session.WorkerSession, reason: DownReason, detail: string): void => {
    const { link } = now
    if (!("session" in link) || link.session !== session) return
    const politely = reason === "GoingAway"
    move(Supervision.lost(now, { at: monotonic(), politely, stableMillis }))
    if (!politely) metrics.workerConnectionError(reason)
    const news = { at: wall(), reason, detail }
    status.apply(politely && link._tag === "Connected" ? Evidence.Parted(news) : Evidence.Lost(news))
    if (politely) retired.retire(session, link.age)
    else retired.close(session)
  }

  /** To be called when the status has seen what speaks for the session. */
  const prove = (): void => {
    if (status.current()._tag !== "Connected" || now.link._tag !== "Pending") return
    if (now.proved) metrics.workerReconnected()
    move(Supervision.proved(now, monotonic()))
  }

  const onVerdict = (session: Session.WorkerSession, verdict: Session.Verdict): void => {
    if (session !== current()) return
    switch (verdict._tag) {
      case "Answer":
        recollection.lastHealth = verdict.health
        metrics.workerHealth(verdict.health.metrics)
        status.apply(Session.answered(verdict.health, wall()))
        return prove()
      case "Saturated":
        metrics.workerSaturated()
        if (verdict.openCalls > 0 && !recollection.saidSaturated) {
          recollection.saidSaturated = true
          fork(Effect.logWarning(Saying.saturated(verdict.openCalls)))
        } else if (verdict.openCalls === 0 && !recollection.saidLate) {
          recollection.saidLate = true
          fork(Effect.logWarning(Saying.late))
        }
        status.apply(Evidence.Saturated({ at: wall() }))
        return prove()
      case "Failed":
        fork(Effect.logDebug(`worker probe failed: ${verdict.detail}`))
        return status.apply(Evidence.Unproven({ at: wall(), reason: verdict.reason, detail: verdict.detail }))
      case "Hung":
        return lose(session, verdict.reason, verdict.detail)
      case "Closed":
        return
    }
  }

  /** From now on new streams go to this link. */
  const adopt = (session: Session.WorkerSession, age: number): void => {
    const { link } = now
    move(Supervision.adopted(now, session, age))
    if ("session" in link) retired.retire(link.session, link.age)
    status.apply(Evidence.Replaced())
    if (session.gone !== undefined) return lose(session, session.gone.fault, session.gone.detail)
    fork(Effect.forkIn(session.poll, session.scope, { startImmediately: true }))
  }

  const pace = yield* Pace.make(health, ({ attempt, before, delayMillis, phase }) =>
    Effect.suspend(() => {
      if (now.link._tag !== "Disconnected") return Effect.void
      // While a server that has just bound its socket begins to listen, a refusal is no news.
      const isNews = phase !== "eager" || status.current()._tag !== "Disconnected"
      if (before instanceof LinkError && isNews) {
        status.apply(Evidence.Lost({ at: wall(), reason: before.fault, detail: before.detail }))
      }
      status.apply(Evidence.Planned({ attempt, retryAt: wall() + delayMillis, delayMillis }))
      return phase === "exhausted"
        ? Effect.logWarning(Saying.exhausted(health.max_reconnect_attempts, health.check_interval_secs))
        : Effect.void
    }))

  /** The replacement of a live link must prove itself first; without a live link there is nothing to lose. */
  const mayServe = Effect.fnUntraced(function*(session: Session.WorkerSession) {
    if (now.link._tag === "Disconnected") return true
    return current() !== undefined && Session.isReady(yield* session.probe(true))
  })

  /** One dial into a scope of its own, pointless once another worker has taken the address. Answers why it does not serve. */
  const attempt: Effect.Effect<Pace.Before | undefined> = Effect.suspend(() => {
    const { age } = now.address
    let serves = false
    const opening = (own: Scope.Closeable) =>
      Effect.gen(function*() {
        yield* Effect.logDebug(`dialling the worker at ${channel.address}`)
        const session = yield* Session.dial(channel.dial, own, {
          callsBeside: () => retired.callsAt(age),
          intervalMillis: health.check_interval_secs * 1000,
          timeoutMillis: health.check_timeout_secs * 1000,
          failureThreshold: health.failure_threshold,
          onVerdict,
          onGone: (session, { detail, fault }) => lose(session, fault, detail)
        })
        if (!(yield* mayServe(session))) return "unready" as const
        adopt(session, age)
        serves = true
        return undefined
      })
    const overtaken = Effect.as(until(() => Supervision.isOvertaken(now, age)), "unready" as const)
    return Effect.flatMap(Scope.fork(scope), (own) =>
      Effect.raceFirst(opening(own), overtaken).pipe(
        Effect.catch((error) => {
          metrics.workerConnectionError(error.fault)
          return Effect.as(Effect.logDebug(`could not reach the worker (${error.fault}): ${error.detail}`), error)
        }),
        Effect.onExit((exit) => serves ? Effect.void : Scope.close(own, exit))
      ))
  })

  /** Waits as the end before demands, unless there is news of the address or somebody asks for a link. */
  const rest = (redial: Supervision.Redial, before: Pace.Before) =>
    Effect.suspend(() => {
      const { link } = now
      const called = () => now.address.news || (now.link._tag === "Disconnected" && now.link !== link)
      if (called()) return Effect.void
      if (redial._tag === "Paced") return Effect.raceFirst(pace.pause(before), until(called))
      return redial.afterMillis === 0
        ? Effect.void
        : Effect.asVoid(Effect.timeoutOption(until(called), redial.afterMillis))
    })

  /** Dials until a link is up that may serve. */
  const dial = Effect.gen(function*() {
    if (now.link._tag === "Disconnected") {
      const { redial } = now.link
      if (redial._tag === "Soon" && redial.anew) yield* pace.begin("calm")
      yield* rest(redial, "lost")
    }
    while (true) {
      if (now.address.news) yield* pace.begin("eager")
      move(Supervision.dialling(now))
      const before = yield* attempt
      if (before === undefined) return
      yield* rest(Supervision.Redial.Paced(), before)
    }
  })

  /** Another worker has taken the address: it is dialled while the old one serves. */
  const superseded = Effect.andThen(until(() => Supervision.isOutdated(now)), dial)

  /** Until there is no link any more. */
  const serve = Effect.raceFirst(until(() => now.link._tag === "Disconnected"), Effect.forever(superseded))

  yield* Effect.forkScoped(
    Stream.runForEach(
      channel.addressChanges,
      (change) =>
        Effect.andThen(
          Effect.logDebug(`the worker's address ${change}`),
          Effect.sync(() => move(Supervision.heard(now, change)))
        )
    ),
    { startImmediately: true }
  )
  yield* Effect.forkScoped(
    status.changes.pipe(
      Stream.filter((state) => state._tag !== "Connecting"),
      Stream.runHead,
      Effect.andThen(Effect.logInfo(`health check started (every ${health.check_interval_secs}s)`))
    ),
    { startImmediately: true }
  )
  yield* Effect.logInfo(`connecting to worker at ${channel.address}`)
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(dial, serve)), { startImmediately: true })
  // Added last, so it runs first: what breaks from here on is our own doing.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      const session = current()
      if (session !== undefined) session.closed = true
      move(Supervision.stopped(now))
      status.apply(Evidence.Stopped({ at: wall() }))
    })
  )

  return WorkerConnection.of({
    current: status.current,
    changes: status.changes,
    link: () => {
      const state = status.current()
      return state._tag === "Connected" && state.renewing !== true ? current()?.link : undefined
    },
    awaitConnected: status.changes.pipe(
      Stream.filter((state) => state._tag === "Connected"),
      Stream.runHead,
      Effect.asVoid
    ),
    onChange: status.subscribe,
    health: Effect.suspend(() => {
      const state = status.current()
      const { lastHealth } = recollection
      if (state._tag === "Connected" && state.renewing === true && lastHealth !== undefined) {
        return Effect.succeed(lastHealth)
      }
      const session = current()
      return session === undefined
        ? Effect.succeed(noAnswer(state))
        : Effect.map(session.probe(false), (verdict) => answerOf(verdict, status.current(), recollection.lastHealth))
    }),
    lastHealth: () => recollection.lastHealth,
    retryAfterMillis: () =>
      retryAfter(status.current(), {
        dueInMillis: status.dueInMillis(),
        polled: current() !== undefined,
        chance: random.nextDoubleUnsafe(),
        settings
      }),
    elapsedMillis: status.elapsedMillis,
    dueInMillis: status.dueInMillis,
    announceReload: (etaSeconds) =>
      Effect.sync(() => {
        const etaMillis = etaSeconds === undefined ? undefined : etaSeconds * 1000
        status.apply(Evidence.ReloadAnnounced({ at: wall(), etaMillis }))
      }),
    announceReady: Effect.sync(() => {
      status.apply(Evidence.ReadyAnnounced())
      const session = current()
      if (session === undefined) move(Supervision.asked(now))
      else session.nudge("now")
    }),
    reconnect: Effect.sync(() => {
      const session = current()
      move(Supervision.asked(now))
      status.apply(Evidence.Redial({ at: wall() }))
      if (session !== undefined) retired.close(session)
    }),
    suspect: () => current()?.nudge("soon")
  })
})

/**
 * The worker's status machine (docs/design.md §4): dials, proves, polls, notices, waits and dials again, in the scope of the
 * layer. A worker that is not there is not an error.
 */
export const layer: Layer.Layer<WorkerConnection, never, WorkerChannel | SidecarConfig | WorkerMetrics> = Layer.effect(
  WorkerConnection,
  make
)
