import { Data } from "effect"
import { type DownReason, WorkerState } from "../../services/WorkerConnection.ts"

/**
 * The worker's status as a pure function of what was seen (docs/design.md §4). All times are wall clock, milliseconds since the
 * epoch, and belong to the event: they are for people, and no difference of two of them is a duration.
 */
export interface Situation {
  readonly state: WorkerState
  /**
   * The reload was announced, and nothing has yet shown that it took place: a worker that has said "I am going to
   * reload" still answers Health for a moment, and that answer does not end the reload.
   */
  readonly announced: boolean
  /** The reload took longer than `[reload] max_reload_secs`: a worker that goes on saying so is down. */
  readonly expired: boolean
  /** Why a restarting worker cannot be reached: what it will be Disconnected for when its time is over. */
  readonly absence?: { readonly reason: DownReason; readonly detail: string } | undefined
}

/** What was seen. */
export type Evidence = Data.TaggedEnum<{
  /** A Health answer. `etaMillis`: how long the reload still takes, if the worker said so. */
  Answered: {
    readonly at: number
    readonly healthy: boolean
    readonly reloading: boolean
    readonly etaMillis: number | undefined
    readonly detail: string
  }
  /** A link is up whose worker has not yet proved itself, or has not answered its Health calls in time. */
  Unproven: { readonly at: number; readonly reason: DownReason; readonly detail: string }
  /** Health was late, and there were signs of life: the worker is busy. */
  Saturated: { readonly at: number }
  /** A proved link asked for a new connection (GOAWAY NO_ERROR). */
  Parted: { readonly at: number; readonly reason: DownReason; readonly detail: string }
  /** There is no link any more. */
  Lost: { readonly at: number; readonly reason: DownReason; readonly detail: string }
  /** The next dial is planned. */
  /** `delayMillis`: until then, as a duration; `retryAt` is for people. */
  Planned: { readonly attempt: number; readonly retryAt: number; readonly delayMillis: number }
  /** A new link is up, to another worker process perhaps: what it answers ends a reload that was announced before. */
  Replaced: {}
  ReloadAnnounced: { readonly at: number; readonly etaMillis: number | undefined }
  ReadyAnnounced: {}
  ReloadTooLong: { readonly at: number; readonly detail: string }
  /** A worker that said goodbye has not come back within the time of a hold. */
  RestartTooLong: { readonly at: number }
  /** Somebody asked for a new link. */
  Redial: { readonly at: number }
  Stopped: { readonly at: number }
}>
export const Evidence = Data.taggedEnum<Evidence>()

/** Before the first attempt. */
export const initial = (at: number): Situation => ({
  state: WorkerState.Connecting({ since: at, attempt: 1 }),
  announced: false,
  expired: false
})

/**
 * The next situation; the same object when nothing changed. `remedyOf`: one sentence for the operator. `isEarly`: the
 * time at which a reloading worker means to be back is still to come, by a clock that cannot be set.
 */
export const next = (
  now: Situation,
  evidence: Evidence,
  remedyOf: (reason: DownReason) => string,
  isEarly: boolean
): Situation => {
  const { state } = now
  if (state._tag === "Disconnected" && state.reason === "Stopped") return now

  /** It said goodbye, and the next link could not be proved: it restarts, perhaps. */
  const restart = (at: number, reason: DownReason, detail: string): Situation => ({
    announced: false,
    expired: false,
    absence: { reason, detail },
    state: WorkerState.Reloading({ since: at, until: undefined, restarting: true })
  })

  const down = (at: number, reason: DownReason, detail: string): Situation => {
    if (state._tag !== "Disconnected") {
      return {
        ...now,
        announced: false,
        state: WorkerState.Disconnected({
          since: at,
          reason,
          detail,
          remedy: remedyOf(reason),
          attempt: state._tag === "Connecting" ? state.attempt : 0,
          retryAt: undefined
        })
      }
    }
    if (state.reason === reason && state.detail === detail) return now
    return { ...now, state: { ...state, reason, detail, remedy: remedyOf(reason) } }
  }

  switch (evidence._tag) {
    case "Answered": {
      const { at, etaMillis } = evidence
      if (evidence.reloading) {
        if (now.expired) return now
        const until = etaMillis === undefined ? undefined : at + etaMillis
        if (state._tag !== "Reloading" || state.restarting === true) {
          return { ...now, announced: false, state: WorkerState.Reloading({ since: at, until }) }
        }
        const known = until ?? state.until
        if (known === state.until && !now.announced) return now
        return { ...now, announced: false, state: known === state.until ? state : { ...state, until: known } }
      }
      if (!evidence.healthy) {
        return state._tag === "Reloading" ? now : down(at, "Unhealthy", evidence.detail)
      }
      const pending = state._tag === "Reloading" && now.announced && (state.until === undefined || isEarly)
      if (pending) return now
      if (state._tag !== "Connected") {
        return { state: WorkerState.Connected({ since: at }), announced: false, expired: false }
      }
      return state.renewing === true || state.saturatedSince !== undefined
        ? { ...now, state: WorkerState.Connected({ since: state.since }) }
        : now
    }
    case "Saturated":
      if (state._tag !== "Connected") return now
      return state.renewing !== true && state.saturatedSince !== undefined
        ? now
        : { ...now, state: WorkerState.Connected({ since: state.since, saturatedSince: evidence.at }) }
    case "Parted":
      return state._tag === "Connected" && state.renewing !== true
        ? { ...now, state: WorkerState.Connected({ since: state.since, renewing: true }) }
        : next(now, Evidence.Lost(evidence), remedyOf, isEarly)
    case "Unproven":
      if (state._tag === "Connected" && state.renewing === true) {
        return restart(evidence.at, evidence.reason, evidence.detail)
      }
      if (state._tag === "Reloading" && state.restarting === true) {
        return { ...now, absence: { reason: evidence.reason, detail: evidence.detail } }
      }
      // A link that is up and has once been proved stays Connected until it is lost.
      return state._tag === "Connected" || state._tag === "Reloading"
        ? now
        : down(evidence.at, evidence.reason, evidence.detail)
    case "Lost":
      if (state._tag === "Connected" && state.renewing === true) {
        return restart(evidence.at, evidence.reason, evidence.detail)
      }
      if (state._tag === "Reloading" && state.restarting === true) {
        return { ...now, announced: false, absence: { reason: evidence.reason, detail: evidence.detail } }
      }
      // The socket may vanish and return during a reload: the next worker's answer ends it.
      if (state._tag === "Reloading") return now.announced ? { ...now, announced: false } : now
      return down(evidence.at, evidence.reason, evidence.detail)
    case "Planned": {
      const { attempt, retryAt } = evidence
      return state._tag === "Disconnected" ? { ...now, state: { ...state, attempt, retryAt } } : now
    }
    case "Replaced":
      return now.announced ? { ...now, announced: false } : now
    case "ReloadAnnounced": {
      const { at, etaMillis } = evidence
      const until = etaMillis === undefined ? undefined : at + etaMillis
      return {
        announced: true,
        expired: false,
        state: state._tag === "Reloading" && state.restarting !== true
          ? { ...state, until: until ?? state.until }
          : WorkerState.Reloading({ since: at, until })
      }
    }
    case "ReadyAnnounced":
      return now.announced ? { ...now, announced: false } : now
    case "ReloadTooLong":
      if (state._tag !== "Reloading") return now
      return { ...down(evidence.at, "ReloadTooLong", evidence.detail), announced: false, expired: true }
    case "RestartTooLong": {
      if (state._tag !== "Reloading" || state.restarting !== true || now.absence === undefined) return now
      return down(evidence.at, now.absence.reason, now.absence.detail)
    }
    case "Redial":
      if (state._tag === "Reloading") return now.announced ? { ...now, announced: false } : now
      return { ...now, state: WorkerState.Connecting({ since: evidence.at, attempt: 1 }) }
    case "Stopped":
      return down(evidence.at, "Stopped", "the sidecar is stopping")
  }
}
