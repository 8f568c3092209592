import type { WorkerState } from "../../../src/index.ts"
import type { Evidence, Played } from "./play.ts"
import type { Broken } from "./rules.ts"
import { mayBeUnseen, SLACK } from "./streamRules.ts"

/** What must hold for a run as a whole (docs/design.md §4, §7, §9, §12). Each answers what is wrong. */
export interface WorldRule {
  readonly rule: string
  readonly broken: (evidence: Evidence) => ReadonlyArray<string>
}

const rule = (name: string, broken: WorldRule["broken"]): WorldRule => ({ rule: name, broken })

const equal = (name: string, value: number | undefined, wanted: number): ReadonlyArray<string> =>
  value === wanted ? [] : [`${name} is ${value}, not ${wanted}`]

/** Nothing outlives the scope. */
export const left = ({ leftFibers, leftLinks, leftSleepers, leftTasks }: Played): ReadonlyArray<Broken> =>
  [
    { what: "fibers", count: leftFibers },
    { what: "timers", count: leftSleepers },
    { what: "tasks", count: leftTasks },
    { what: "links to the worker", count: leftLinks }
  ].flatMap(({ count, what }) =>
    count === 0 ? [] : [{ rule: "everything ends with its scope", detail: `${count} ${what} are left` }]
  )

export const all: ReadonlyArray<WorldRule> = [
  rule(
    "connected within one wait of the worker's return",
    ({ connectedAt, history }) =>
      connectedAt === undefined ? [`the status is ${JSON.stringify(history.at(-1)?.state)}`] : []
  ),

  rule(
    "every stream ends within its limits",
    ({ stillInFlight }) => stillInFlight === 0 ? [] : [`${stillInFlight} still in flight`]
  ),

  rule(
    "after the healing new streams are answered",
    ({ late }) =>
      late.flatMap(({ seen, traceId }) => seen.status?.code === 0 ? [] : [`${traceId}: ${JSON.stringify(seen.status)}`])
  ),

  rule(
    "a reload ends with the worker's word or after max_reload_secs, not with its socket",
    ({ history }) =>
      history.flatMap(({ state }, n) => {
        const before = history[n - 1]?.state
        return before?._tag === "Reloading" && before.restarting !== true && state._tag === "Disconnected" &&
            state.reason !== "ReloadTooLong"
          ? [`Reloading became Disconnected (${state.reason})`]
          : []
      })
  ),

  rule("a saturated worker that acknowledges is never cut", ({ calls, events, foreign, history, settings }) => {
    const { check_interval_secs, check_timeout_secs, failure_threshold } = settings.health
    const row = failure_threshold * Math.max(check_interval_secs, 2 * check_timeout_secs) * 1000 + SLACK
    const attempts = [...calls, ...foreign].flatMap((call) => call.attempts)
    return history.flatMap(({ at, state }) => {
      if (state._tag !== "Disconnected" || state.reason !== "HealthTimeout") return []
      // On the link that was cut, and open for as long as its health was looked at.
      const cut = attempts.filter(({ seen }) =>
        seen.end?.fate === "broken" && seen.end.at === at && seen.arrivedAt <= at - row
      )
      const actions = events.filter(({ who }) => who === "timeline")
      const stood = actions.some((action, n) => {
        if (action.what !== "hang" || action.at > at) return false
        const on = actions.slice(n).find(({ what }) => what === "wake" || what === "come back" || what === "replace")
        return on === undefined || on.at >= at - row
      })
      return cut.length === 0 || stood ? [] : [`${cut.length} calls were cut at ${at} ms`]
    })
  }),

  rule("no reload is longer than max_reload_secs, and no worker that said goodbye is waited for longer than a hold", (
    { history, settings }
  ) => {
    const { hold_on_disconnect_secs, hold_timeout_secs, max_reload_secs } = settings.reload
    const kind = (state: WorkerState | undefined): string | undefined =>
      state?._tag !== "Reloading" ? undefined : state.restarting === true ? "restarting" : "reloading"
    return history.flatMap(({ at, state }, n) => {
      const mine = kind(state)
      if (mine === undefined || kind(history[n - 1]?.state) === mine) return []
      const end = history.slice(n).find((later) => kind(later.state) !== mine)?.at ?? at
      const limit = mine === "reloading" ? max_reload_secs : Math.max(hold_on_disconnect_secs, hold_timeout_secs)
      return end - at > limit * 1000 + SLACK ? [`${mine} for ${end - at} ms`] : []
    })
  }),

  rule(
    "no more is held, queued or in flight than the limits say",
    ({ plan, samples, settings }) =>
      samples.flatMap(({ at, held, inFlight, leastBytes, queued }) => [
        ...(held > settings.reload.max_held_streams ? [`${held} held at ${at} ms`] : []),
        ...(queued > settings.server.max_queued_streams ? [`${queued} queued at ${at} ms`] : []),
        ...(inFlight > settings.server.max_concurrent_streams ? [`${inFlight} in flight at ${at} ms`] : []),
        // Where fibers yield anywhere, a stream may be held before the gateway's own script knows of it.
        ...(plan.machine.yields === 0 && leastBytes > settings.reload.max_held_bytes
          ? [`${leastBytes} bytes held at ${at} ms`]
          : [])
      ])
  ),

  rule("no more streams are at the worker than max_worker_streams", ({ events, settings }) => {
    const cap = settings.server.max_worker_streams
    if (cap === 0) return []
    const open = new Set<number | undefined>()
    for (const { at, call, detail, what, who } of events) {
      if (who !== "worker" || call === undefined) continue
      if (what === "call arrived" && detail.endsWith("/StreamPredict")) open.add(call)
      else if (what.startsWith("call ")) open.delete(call)
      if (open.size > cap) return [`${open.size} at ${at} ms`]
    }
    return []
  }),

  rule("streams that wait for the worker reach it in the order of their arrival", ({ calls, plan, settings }) => {
    // Priorities and a circuit that lets one stream after the other probe have an order of their own.
    const failed = calls.some(({ attempts, seen }) =>
      seen.status?.metadata["cy-reason"] === "circuit_open" ||
      attempts.some(({ frames, seen }) => frames.length === 0 && seen.end?.fate !== "cancelled")
    )
    if (failed || settings.server.max_worker_streams > 0 || plan.machine.yields > 0) return []
    const firsts = calls.flatMap(({ attempts, seen, traceId }) => {
      const [first] = attempts
      return first === undefined ? [] : [{ id: seen.id, traceId, worker: first.seen.id }]
    }).sort((a, b) => a.id - b.id)
    return firsts.flatMap((one, n) => {
      const before = firsts[n - 1]
      return before !== undefined && before.worker > one.worker ? [`${one.traceId} came before ${before.traceId}`] : []
    })
  }),

  rule(
    "the worker is dialled again after a wait, unless it said GOAWAY or its address has changed",
    ({ events, plan, settings }) => {
      const { check_interval_secs, reconnect_delay_secs } = settings.health
      // The jitter is ±20 %, and a timer may be a millisecond early.
      const least = Math.min(check_interval_secs, reconnect_delay_secs) * 800 - 5
      const dials = events.filter(({ what }) => what === "link open" || what === "dial failed")
      const causes = [
        ...events.flatMap(({ at, detail, what, who }) => {
          const words = who === "timeline" ? `${what} ${detail}` : what
          return /come back|GOAWAY|replace|vanish|be gone|unreachable|reconnect|announce ready/.test(words)
            ? [at]
            : []
        }),
        // A worker that has left for its reload comes back by itself.
        ...plan.timeline.flatMap(({ action, atMillis }) =>
          action._tag === "Reload" && action.gone ? [atMillis + action.seconds * 1000] : []
        )
      ]
      return dials.flatMap(({ at }, n) => {
        const before = dials[n - 1]?.at ?? Number.NEGATIVE_INFINITY
        if (at - before >= least || causes.some((cause) => cause >= before - 1500 && cause <= at + SLACK)) return []
        return [`after ${at - before} ms, at ${at} ms`]
      })
    }
  ),

  rule("the worker is asked for its health no more often than the settings say", (evidence) => {
    const { dials, endedAt, healthCalls, settings } = evidence
    const most = 10 + endedAt / Math.min(1000, settings.health.check_interval_secs * 1000) + 4 * dials
    return healthCalls > most ? [`${healthCalls} Health calls in ${endedAt} ms, at most ${most}`] : []
  }),

  rule("when nothing is in flight, every stream is counted once and the gauges are 0", (evidence) => {
    const { calls, figures, late, plan, records } = evidence
    const success = figures["sidecar_requests_success_total"] ?? 0
    const failed = figures["sidecar_requests_failed_total"] ?? 0
    const cancelled = figures["sidecar_requests_cancelled_total"] ?? 0
    const total = figures["sidecar_requests_total"] ?? 0
    const unseen = calls.filter((call) => mayBeUnseen(call, plan)).length
    const most = calls.length + late.length
    const count = (outcome: string) => records.filter((record) => record.outcome === outcome).length
    // Who leaves before it is let in is counted and has no record; whether that step was reached is not seen from here.
    const early = cancelled - count("cancelled")
    return [
      ...(total > most || total < most - unseen ? [`sidecar_requests_total is ${total}, not ${most}`] : []),
      ...equal("success + failed + cancelled", success + failed + cancelled, total),
      ...equal("sidecar_requests_success_total", success, count("completed")),
      ...(early < 0 || early > unseen
        ? [`sidecar_requests_cancelled_total is ${cancelled}, not ${cancelled - early}`]
        : []),
      ...equal("sidecar_active_connections", figures["sidecar_active_connections"], 0),
      ...equal("sidecar_streams_held", figures["sidecar_streams_held"], 0),
      ...equal("sidecar_streams_queued", figures["sidecar_streams_queued"], 0),
      ...equal("sidecar_worker_connection_status", figures["sidecar_worker_connection_status"], 1)
    ]
  }),

  rule("the sums of the metrics and of the journal are those of the records", (evidence) => {
    const { balance, calls, figures, late, records } = evidence
    // A circuit that is open refuses a stream before its request was read.
    const known = new Set([...calls, ...late].map(({ traceId }) => traceId))
    const strangers = records.filter(({ outcome, trace_id }) =>
      !known.has(trace_id) && !(trace_id === "" && (outcome === "refused" || outcome === "cancelled"))
    )
    const tokens = records.reduce((sum, record) => sum + record.tokens_generated, 0)
    const replays = records.reduce((sum, record) => sum + record.replays, 0)
    return [
      ...equal("sidecar_tokens_processed_total", figures["sidecar_tokens_processed_total"], tokens),
      ...equal("sidecar_model_tokens_total", figures["sidecar_model_tokens_total"], tokens),
      ...equal("sidecar_streams_replayed_total", figures["sidecar_streams_replayed_total"], replays),
      ...equal("tokens delivered", balance.delivered.tokens, tokens),
      ...equal("tokens acknowledged", balance.acknowledged.tokens, tokens),
      ...equal("records delivered", balance.delivered.records, records.length),
      ...equal("records that wait", balance.waiting.records, 0),
      ...equal("records of nobody", strangers.length, 0)
    ]
  })
]
