import type { WorkerState } from "../../services/WorkerConnection.ts"

/** The worker's status in one word, wherever a machine reads it: metric labels, `/readyz`, the status page. */
export const statusWord = {
  Connecting: "connecting",
  Connected: "connected",
  Reloading: "reloading",
  Disconnected: "disconnected"
} as const satisfies Record<WorkerState["_tag"], string>
export type StatusWord = typeof statusWord[WorkerState["_tag"]]

const iso = (millis: number): string => new Date(millis).toISOString()

/**
 * Why there is no worker for new streams, as one stable word; `undefined` when there is one. Names no path: it may be
 * shown to gateways.
 */
export const reasonOf = (state: WorkerState): string | undefined => {
  switch (state._tag) {
    case "Connected":
      return undefined
    case "Connecting":
      return "Connecting"
    case "Reloading":
      return "Reloading"
    case "Disconnected":
      return state.reason
  }
}

/** What is the matter with a worker that is connected and saturated. */
export const saturatedDetail = (since: string): string =>
  `saturated since ${since}: its transport is alive while calls are open, but it has no thread left to answer Health`

/** What the operator can do about it. */
export const SATURATED_REMEDY =
  "set [server] max_worker_streams below the worker's number of threads (a CY-LLM worker " +
  "has 10): streams then wait in the sidecar's queue, where they can be seen, counted and sent elsewhere"

/** A worker's status as flat text, for `sidecar.status`. Times are ISO 8601. */
export const describe = (state: WorkerState): Record<string, string> => {
  const common = { worker_state: state._tag, worker_since: iso(state.since) }
  switch (state._tag) {
    case "Connected":
      return state.saturatedSince === undefined ? common : {
        ...common,
        worker_saturated_since: iso(state.saturatedSince),
        worker_reason: "Saturated",
        worker_detail: saturatedDetail(iso(state.saturatedSince)),
        worker_remedy: SATURATED_REMEDY
      }
    case "Connecting":
      return { ...common, worker_attempt: String(state.attempt) }
    case "Reloading":
      return state.until === undefined ? common : { ...common, worker_until: iso(state.until) }
    case "Disconnected":
      return {
        ...common,
        worker_reason: state.reason,
        worker_detail: state.detail,
        worker_remedy: state.remedy,
        worker_attempt: String(state.attempt),
        ...(state.retryAt === undefined ? {} : { worker_retry_at: iso(state.retryAt) })
      }
  }
}
