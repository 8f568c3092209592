import { Clock, Effect, Exit, Fiber, Latch, Layer, Random, Scope, Stream } from "effect"
import * as Saying from "../internal/connection/connectionLog.ts"
import { remedyFor } from "../internal/connection/connectionRemedy.ts"
import { Evidence } from "../internal/connection/evidence.ts"
import * as LinkAges from "../internal/connection/linkAges.ts"
import * as Backoff from "../internal/connection/reconnectBackoff.ts"
import { retryAfter } from "../internal/connection/retryHint.ts"
import * as StatusCell from "../internal/connection/statusCell.ts"
import { reasonOf } from "../internal/connection/statusWords.ts"
import { reloadOf } from "../internal/connection/workerRpc.ts"
import * as Session from "../internal/connection/workerSession.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { LinkError, WorkerChannel } from "../services/WorkerChannel.ts"
import { type DownReason, WorkerConnection, type WorkerHealth } from "../services/WorkerConnection.ts"
import { WorkerMetrics } from "../services/WorkerMetrics.ts"

/** Waits after the socket file appeared, in milliseconds: a server binds before it listens. */
const EAGER_MILLIS: ReadonlyArray<number> = [20, 50, 100, 200, 400]
/** A wait shorter than this many milliseconds is over: no timer is finer, and fractions must not make a loop spin. */
const MIN_WAIT_MILLIS = 1
/** A link that was renewed when younger than this is not followed by the next one at once: no worker can make us spin. */
const YOUNG_MILLIS = 100
/** How often a retired link is asked whether its last call has ended, in milliseconds. */
const RETIRED_CHECK_MILLIS = 1000

/** How a link ended. `upMillis`: since it was proved; `undefined`: it never was. `politely`: by GOAWAY NO_ERROR. */
interface Loss {
  readonly upMillis: number | undefined
  readonly politely: boolean
}

const make = Effect.gen(function*() {
  const channel = yield* WorkerChannel
  const settings = yield* SidecarConfig
  const metrics = yield* WorkerMetrics
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const scope = yield* Effect.scope
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const track = Fiber.runIn(scope)
  const { health } = settings
  const wall = () => clock.currentTimeMillisUnsafe()
  const monotonic = () => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
  /** A link that was up for less than this has not earned a fresh backoff: a flapping worker must not loop hot. */
  const stableMillis = Math.max(health.check_interval_secs, health.reconnect_delay_secs) * 1000

  /** The link that serves new streams once it is proved. */
  let primary: Session.WorkerSession | undefined
  /** The primary link was lost and the next dial is not planned yet. */
  let loss: Loss | undefined
  const ages = LinkAges.make()
  /** The last loss was the GOAWAY of a link that had not been proved, and was answered by an immediate dial. */
  let toldToGo = false
  /** Monotonic time of the next dial; infinite: none is wanted. */
  let due = Number.POSITIVE_INFINITY
  let dialling: Fiber.Fiber<Session.WorkerSession, LinkError> | undefined
  let attempt = 0
  let eager: ReadonlyArray<number> = []
  let addressGone = false
  let everConnected = false
  let saidSaturated = false
  let lastHealth: WorkerHealth | undefined
  /** Wakes {@link supervise} to look at `loss` and `due`. */
  const wake = Latch.makeUnsafe(false)
  const backoff = yield* Backoff.make(health)
  const status = yield* StatusCell.make({
    remedyOf: remedyFor(settings, channel.address),
    get maxReloadMillis() {
      return settings.reload.max_reload_secs * 1000
    },
    get maxRestartMillis() {
      return Math.max(settings.reload.hold_timeout_secs, settings.reload.hold_on_disconnect_secs) * 1000
    },
    onExpectedBack: () => primary?.nudge("now"),
    onChange: metrics.workerState
  })

  const dialNow = (): void => {
    if (dialling !== undefined) return
    due = 0
    loss = undefined
    wake.openUnsafe()
  }

  /** Closes a link: its running calls end. */
  const drop = (session: Session.WorkerSession): void => {
    session.closed = true
    ages.closed(session.link)
    track(fork(Scope.close(session.scope, Exit.void), { uninterruptible: true }))
  }

  /** Lets the running calls of a link finish, then closes it. Each call has time limits of its own, so this ends. */
  const retire = (session: Session.WorkerSession): void => {
    session.closed = true
    ages.retired(session.link)
    const isIdle = Effect.map(Effect.sleep(RETIRED_CHECK_MILLIS), () => session.link.openCalls() === 0)
    track(fork(
      Effect.repeat(isIdle, { until: (idle) => idle }).pipe(
        Effect.timeoutOption(settings.server.first_token_timeout_secs * 1000),
        Effect.andThen(Effect.sync(() => drop(session)))
      )
    ))
  }

  const lose = (session: Session.WorkerSession, reason: DownReason, detail: string): void => {
    if (session !== primary) return
    primary = undefined
    const upMillis = session.connectedAt === undefined ? undefined : monotonic() - session.connectedAt
    const politely = reason === "GoingAway"
    loss = { upMillis, politely }
    if (!politely) metrics.workerConnectionError(reason)
    const news = { at: wall(), reason, detail }
    status.apply(politely && upMillis !== undefined ? Evidence.Parted(news) : Evidence.Lost(news))
    if (politely) retire(session)
    else drop(session)
    wake.openUnsafe()
  }

  const onAnswer = (session: Session.WorkerSession, answer: WorkerHealth): void => {
    lastHealth = answer
    metrics.workerHealth(answer.metrics)
    const reload = reloadOf(answer)
    status.apply(Evidence.Answered({
      at: wall(),
      healthy: answer.healthy,
      reloading: reload !== undefined,
      etaMillis: reload?.etaMillis,
      detail: "the worker says healthy = false"
    }))
    onProof(session)
  }

  /** To be called when the status has seen what speaks for the session. */
  const onProof = (session: Session.WorkerSession): void => {
    if (status.current()._tag !== "Connected" || session.connectedAt !== undefined) return
    session.connectedAt = monotonic()
    if (everConnected) metrics.workerReconnected()
    everConnected = true
  }

  const onVerdict = (session: Session.WorkerSession, verdict: Session.Verdict): void => {
    if (session !== primary) return
    switch (verdict._tag) {
      case "Answer":
        return onAnswer(session, verdict.health)
      case "Saturated":
        metrics.workerSaturated()
        if (!saidSaturated) fork(Effect.logWarning(Saying.saturated(verdict.openCalls)))
        saidSaturated = true
        status.apply(Evidence.Saturated({ at: wall() }))
        return onProof(session)
      case "Failed":
        fork(Effect.logDebug(`worker probe failed: ${verdict.detail}`))
        return status.apply(Evidence.Unproven({ at: wall(), reason: verdict.reason, detail: verdict.detail }))
      case "Hung":
        return lose(session, verdict.reason, verdict.detail)
      case "Closed":
        return
    }
  }

  /** One dial into a scope of its own, limited by `[health] check_timeout_secs`. */
  const openInto = Effect.fnUntraced(function*(own: Scope.Closeable) {
    const seconds = health.check_timeout_secs
    const link = yield* channel.dial.pipe(
      Scope.provide(own),
      Effect.timeoutOrElse({
        duration: seconds * 1000,
        orElse: () =>
          Effect.fail(new LinkError({ fault: "DialTimeout", detail: `accepted, and then silent for ${seconds}s` }))
      }),
      Effect.catchDefect((defect) => Effect.fail(new LinkError({ fault: "LinkBroken", detail: String(defect) })))
    )
    ages.dialled(link)
    const session = yield* Session.make(link, own, {
      openCalls: () => ages.callsBeside(link),
      intervalMillis: health.check_interval_secs * 1000,
      timeoutMillis: seconds * 1000,
      failureThreshold: health.failure_threshold,
      onVerdict
    })
    yield* link.gone.pipe(
      Effect.map((error) => {
        session.gone = error
        if (!session.closed) lose(session, error.fault, error.detail)
      }),
      Effect.forkIn(own, { startImmediately: true })
    )
    return session
  })

  const open = Effect.flatMap(
    Scope.fork(scope),
    (own) => Effect.onError(openInto(own), (cause) => Scope.close(own, Exit.failCause(cause)))
  )

  /** From now on new streams go to this link. */
  const adopt = (session: Session.WorkerSession): void => {
    const old = primary
    primary = session
    loss = undefined
    eager = []
    if (old !== undefined) retire(old)
    status.apply(Evidence.Replaced())
    if (session.gone !== undefined) return lose(session, session.gone.fault, session.gone.detail)
    fork(Effect.forkIn(session.poll, session.scope, { startImmediately: true }))
  }

  /** The replacement of a live link must prove itself first; without a live link there is nothing to lose. */
  const mayTakeOver = Effect.fnUntraced(function*(session: Session.WorkerSession) {
    if (primary === undefined) return true
    const verdict = yield* session.probe(true)
    const ready = verdict._tag === "Answer" && verdict.health.healthy && reloadOf(verdict.health) === undefined
    return ready || primary === undefined
  })

  const planNext = Effect.gen(function*() {
    const soon = eager[0]
    eager = eager.slice(1)
    if (soon === undefined) attempt++
    const delay = soon ?? (yield* backoff.next)
    due = Math.min(due, monotonic() + delay)
    status.apply(Evidence.Planned({ attempt, retryAt: wall() + delay, delayMillis: delay }))
    if (soon === undefined && attempt === health.max_reconnect_attempts && primary === undefined) {
      yield* Effect.logWarning(Saying.exhausted(attempt, health.check_interval_secs))
    }
  })

  const planAfterLoss = Effect.suspend(() => {
    const { politely, upMillis } = loss ?? { politely: false, upMillis: undefined }
    loss = undefined
    // A worker that ends a proved link politely is there and wants a new one, however young the old one was. One that
    // is never proved does not get the next one at once for every GOAWAY in a row.
    const renewal = politely && upMillis !== undefined
    const stable = upMillis !== undefined && upMillis >= stableMillis
    const atOnce = stable || renewal || (politely && !toldToGo)
    toldToGo = politely && !renewal
    if (!atOnce) return planNext
    due = renewal && upMillis < YOUNG_MILLIS ? monotonic() + YOUNG_MILLIS : 0
    if (!stable && !renewal) return Effect.void
    attempt = 0
    return backoff.reset
  })

  const dialOnce = Effect.gen(function*() {
    due = Number.POSITIVE_INFINITY
    loss = undefined
    yield* Effect.logDebug(`dialling the worker at ${channel.address}`)
    dialling = yield* Effect.forkChild(open, { startImmediately: true })
    const dialled = yield* Fiber.await(dialling)
    dialling = undefined
    if (Exit.isSuccess(dialled)) {
      if (yield* mayTakeOver(dialled.value)) return adopt(dialled.value)
      drop(dialled.value)
      return yield* planNext
    }
    // Interrupted because the address has changed: `due` says now.
    if (Exit.hasInterrupts(dialled)) return
    const error = yield* Effect.flip(dialled)
    yield* Effect.logDebug(`could not reach the worker (${error.fault}): ${error.detail}`)
    metrics.workerConnectionError(error.fault)
    // While a server that has just bound its socket begins to listen, a refusal is no news.
    const isNews = eager.length === 0 || status.current()._tag !== "Disconnected"
    if (primary === undefined && isNews) {
      status.apply(Evidence.Lost({ at: wall(), reason: error.fault, detail: error.detail }))
    }
    yield* planNext
  })

  const supervise = Effect.gen(function*() {
    yield* Effect.logInfo(`connecting to worker at ${channel.address}`)
    yield* dialOnce
    if (primary !== undefined) yield* primary.probe(false)
    yield* Effect.logInfo(`health check started (every ${health.check_interval_secs}s)`)
    while (true) {
      wake.closeUnsafe()
      if (loss !== undefined) yield* planAfterLoss
      const wait = due - monotonic()
      if (wait < MIN_WAIT_MILLIS) yield* dialOnce
      else yield* Number.isFinite(wait) ? Effect.timeoutOption(wake.await, wait) : wake.await
    }
  })

  const onAddressChange = (change: "appeared" | "replaced" | "vanished"): void => {
    if (change !== "appeared") ages.turn()
    if (change === "vanished") {
      addressGone = true
      return
    }
    const isOther = change === "replaced" || addressGone
    addressGone = false
    if (primary !== undefined && !isOther) return
    eager = EAGER_MILLIS
    if (dialling === undefined) return dialNow()
    if (!isOther) return
    due = 0
    dialling.interruptUnsafe()
  }

  /** Our word when the worker gives none. */
  const noAnswer = (reason: string): WorkerHealth => ({ healthy: false, metrics: { reason } })

  const whyDown = (): string => reasonOf(status.current()) ?? "Connecting"

  yield* Effect.forkScoped(
    Stream.runForEach(
      channel.addressChanges,
      (change) =>
        Effect.andThen(Effect.logDebug(`the worker's address ${change}`), Effect.sync(() => onAddressChange(change)))
    ),
    { startImmediately: true }
  )
  yield* Effect.forkScoped(supervise, { startImmediately: true })
  // Added last, so it runs first: what breaks from here on is our own doing.
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      if (primary !== undefined) primary.closed = true
      primary = undefined
      status.apply(Evidence.Stopped({ at: wall() }))
    })
  )

  return WorkerConnection.of({
    current: status.current,
    changes: status.changes,
    link: () => {
      const state = status.current()
      return state._tag === "Connected" && state.renewing !== true ? primary?.link : undefined
    },
    awaitConnected: status.changes.pipe(
      Stream.filter((state) => state._tag === "Connected"),
      Stream.runHead,
      Effect.asVoid
    ),
    onChange: status.subscribe,
    health: Effect.suspend(() => {
      const state = status.current()
      if (state._tag === "Connected" && state.renewing === true && lastHealth !== undefined) {
        return Effect.succeed(lastHealth)
      }
      if (primary === undefined) return Effect.succeed(noAnswer(whyDown()))
      return Effect.map(primary.probe(false), (verdict) => {
        switch (verdict._tag) {
          case "Answer":
            return verdict.health
          case "Closed":
            return noAnswer(whyDown())
          case "Saturated":
            // It lives; what it said last is the best that is known of it.
            return { healthy: true, metrics: { ...lastHealth?.metrics, reason: "Saturated" } }
          default:
            return noAnswer(verdict.reason)
        }
      })
    }),
    lastHealth: () => lastHealth,
    retryAfterMillis: () =>
      retryAfter(status.current(), {
        dueInMillis: status.dueInMillis(),
        polled: primary !== undefined,
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
      if (primary === undefined) dialNow()
      else primary.nudge("now")
    }),
    reconnect: Effect.sync(() => {
      const session = primary
      primary = undefined
      status.apply(Evidence.Redial({ at: wall() }))
      if (session !== undefined) drop(session)
      dialNow()
    }),
    suspect: () => primary?.nudge("soon")
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
