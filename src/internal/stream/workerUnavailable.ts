import { WorkerUnavailable } from "../../services/StreamError.ts"
import type { WorkerConnection } from "../../services/WorkerConnection.ts"

/** Why there is no link for a new stream now, and when to come back. */
export const workerUnavailable = (connection: WorkerConnection["Service"]): WorkerUnavailable => {
  const state = connection.current()
  return new WorkerUnavailable({
    cause: state._tag === "Reloading"
      ? "reloading"
      : state._tag === "Disconnected" && state.reason === "Unhealthy"
      ? "unhealthy"
      : "disconnected",
    retryAfterMillis: connection.retryAfterMillis()
  })
}
