import type { Settings } from "../../services/SidecarConfig.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"

/** A refused gateway is never asked to come back sooner than this many milliseconds. */
export const MIN_RETRY_MILLIS = 500

/**
 * When it makes sense for a refused gateway to come back, in milliseconds: the reload's ETA, the next dial, or the next
 * poll of a link that is up (`polled`). `chance` in [0, 1) spreads it by ±20 %, so that they do not come all at once.
 */
export const retryAfter = (
  state: WorkerState,
  options: {
    readonly now: number
    readonly polled: boolean
    readonly chance: number
    readonly health: Settings["health"]
  }
): number => {
  const base = retryBase(state, options)
  return Math.max(MIN_RETRY_MILLIS, Math.round(base * (0.8 + 0.4 * options.chance)))
}

const retryBase = (
  state: WorkerState,
  options: { readonly now: number; readonly polled: boolean; readonly health: Settings["health"] }
): number => {
  const reconnect = options.health.reconnect_delay_secs * 1000
  switch (state._tag) {
    case "Connected":
      return MIN_RETRY_MILLIS
    case "Connecting":
      return reconnect
    case "Reloading":
      return state.until === undefined || state.until <= options.now ? reconnect : state.until - options.now
    case "Disconnected":
      if (options.polled) return options.health.check_interval_secs * 1000
      return state.retryAt === undefined ? reconnect : state.retryAt - options.now
  }
}
