import type { BillingState } from "../../services/BillingSink.ts"
import type { Admission } from "../../services/InferenceProxy.ts"
import type { JournalCondition } from "../../services/UsageJournal.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"
import { SATURATED_REMEDY, saturatedDetail, type StatusWord, statusWord } from "../connection/statusWords.ts"
import { statusOf } from "../wire/streamStatus.ts"

/** The answer of `/readyz`. Times are ISO 8601 in UTC. */
export interface Readiness {
  /** Whether a gateway may send streams here: `[health] ready_when`. */
  readonly ready: boolean
  /** What would become of a stream that came now. */
  readonly new_streams: "served" | "held" | "refused"
  /** Until when a stream that came now would be held at most. */
  readonly held_until: string | null
  readonly status: StatusWord
  /** Why it is not ready, as one stable word; `Saturated` is said of a worker that is ready. */
  readonly reason: string | null
  readonly detail: string | null
  /** What the operator can do. */
  readonly remedy: string | null
  readonly since: string
  /** When the worker is dialled next. */
  readonly retry_at: string | null
  /** When a reloading worker expects to be back. */
  readonly back_at: string | null
  readonly draining: boolean
  readonly streams_in_flight: number
  /** The usage journal; `null` where there is none. A failing journal does not make the sidecar unready. */
  readonly journal: JournalView | null
  /** How usage is reported; `null` where nobody is reported to. Trouble in it does not make the sidecar unready. */
  readonly billing: BillingView | null
}

/** How usage is reported to the billing service or the broker. */
export interface BillingView {
  readonly status: "ok" | "failing"
  readonly reason: string | null
  readonly detail: string | null
  /** What the operator can do. */
  readonly remedy: string | null
  readonly since: string | null
}

/** The condition of the usage journal. */
export interface JournalView {
  readonly status: "ok" | "failing"
  readonly reason: string | null
  readonly detail: string | null
  readonly since: string | null
  /** Closed records that wait in memory. */
  readonly unsaved: number
}

/** What readiness is made of. */
export interface ReadinessSource {
  /** Wall clock, milliseconds since the epoch. */
  readonly now: number
  readonly ready: boolean
  readonly admission: Admission
  readonly state: WorkerState
  readonly draining: boolean
  /** It drains because it is told to end. */
  readonly stopping: boolean
  readonly inFlight: number
  readonly journal: JournalCondition | undefined
  readonly billing: BillingState
  /** Takes from a text what outsiders shall not read. */
  readonly publish: (text: string) => string
}

const iso = (millis: number | undefined): string | null => millis === undefined ? null : new Date(millis).toISOString()

const why = ({ admission, draining, publish, state, stopping }: ReadinessSource) => {
  if (stopping) {
    return {
      reason: "Draining",
      detail:
        "the sidecar is stopping: it takes no new streams, running ones finish within [server] drain_timeout_secs",
      remedy: "send new streams to another instance; keep the worker up until this one has ended"
    }
  }
  if (draining) {
    return {
      reason: "Draining",
      detail: "the sidecar takes no new streams; running ones finish",
      remedy: "send new streams to another instance, or end the drain with `sidecar undrain`"
    }
  }
  switch (state._tag) {
    case "Connected": {
      if (admission._tag === "Refused") {
        const error = admission.error()
        return { reason: error._tag, detail: statusOf(error).message, remedy: null }
      }
      return state.saturatedSince === undefined
        ? { reason: null, detail: null, remedy: null }
        : {
          reason: "Saturated",
          detail: saturatedDetail(new Date(state.saturatedSince).toISOString()),
          remedy: SATURATED_REMEDY
        }
    }
    case "Connecting":
      return { reason: "Connecting", detail: `attempt ${state.attempt} to reach the worker`, remedy: null }
    case "Reloading":
      return {
        reason: "Reloading",
        detail: admission._tag === "Refused"
          ? `the worker loads a model; new streams are refused: ${statusOf(admission.error()).message}`
          : state.restarting === true
          ? "the worker said goodbye and is not back yet; new streams are held until it is"
          : "the worker loads a model; new streams are held until it is back",
        remedy: null
      }
    case "Disconnected":
      return { reason: state.reason, detail: publish(state.detail), remedy: publish(state.remedy) }
  }
}

const admissionWord = { Served: "served", Held: "held", Refused: "refused" } as const

/** The last moment that a `Date` can name: a hold may be set to longer than that. */
const MAX_DATE = 8.64e15

const journalView = (
  condition: JournalCondition | undefined,
  publish: (text: string) => string
): JournalView | null => {
  if (condition === undefined) return null
  return condition._tag === "ok"
    ? { status: "ok", reason: null, detail: null, since: null, unsaved: 0 }
    : {
      status: "failing",
      reason: condition.reason,
      detail: publish(condition.detail),
      since: iso(condition.since),
      unsaved: condition.unsaved
    }
}

const billingView = (state: BillingState, publish: (text: string) => string): BillingView | null => {
  if (state._tag === "off") return null
  return state._tag === "ok"
    ? { status: "ok", reason: null, detail: null, remedy: null, since: null }
    : {
      status: "failing",
      reason: state.reason,
      detail: publish(state.detail),
      remedy: state.remedy === undefined ? null : publish(state.remedy),
      since: iso(state.since)
    }
}

/** Whether a gateway may send streams here, and why not. */
export const readiness = (source: ReadinessSource): Readiness => {
  const { admission, billing, draining, inFlight, journal, now, publish, ready, state } = source
  return {
    ready,
    new_streams: admissionWord[admission._tag],
    held_until: admission._tag === "Held" ? iso(Math.min(now + admission.patienceMillis, MAX_DATE)) : null,
    status: statusWord[state._tag],
    ...why(source),
    since: new Date(state.since).toISOString(),
    retry_at: state._tag === "Disconnected" ? iso(state.retryAt) : null,
    back_at: state._tag === "Reloading" ? iso(state.until) : null,
    draining,
    streams_in_flight: inFlight,
    journal: journalView(journal, publish),
    billing: billingView(billing, publish)
  }
}
