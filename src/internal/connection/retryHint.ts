import type { Settings } from "../../services/SidecarConfig.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"

/** A refused gateway is never asked to come back sooner than this many milliseconds. */
export const MIN_RETRY_MILLIS = 500

/** What a hint is made of. */
export interface RetryFacts {
  /** Until the reload's end or the next dial, if that is known, by the monotonic clock. */
  readonly dueInMillis: number | undefined
  /** A link is up and polled. */
  readonly polled: boolean
  /** In [0, 1): spreads the hint by ±20 %, so that gateways do not come back all at once. */
  readonly chance: number
  readonly settings: Pick<Settings, "health" | "reload">
}

/**
 * When it makes sense for a refused gateway to come back, in milliseconds: the reload's ETA, the next dial, or the next
 * poll of a link that is up. Before it is spread it is never more than the schedule can ask for, whatever a worker
 * announces: libraries obey it.
 */
export const retryAfter = (state: WorkerState, facts: RetryFacts): number =>
  Math.max(MIN_RETRY_MILLIS, Math.round(retryBase(state, facts) * (0.8 + 0.4 * facts.chance)))

const retryBase = (state: WorkerState, { dueInMillis, polled, settings: { health, reload } }: RetryFacts): number => {
  const reconnect = health.reconnect_delay_secs * 1000
  const check = health.check_interval_secs * 1000
  switch (state._tag) {
    case "Connected":
      return MIN_RETRY_MILLIS
    case "Connecting":
      return reconnect
    case "Reloading":
      return dueInMillis === undefined || dueInMillis <= 0
        ? reconnect
        : Math.min(dueInMillis, reload.max_reload_secs * 1000)
    case "Disconnected":
      if (polled) return check
      return dueInMillis === undefined ? reconnect : Math.min(dueInMillis, Math.max(check, reconnect))
  }
}
