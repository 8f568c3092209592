import type { WorkerHealth, WorkerState } from "../../services/WorkerConnection.ts"
import { reasonOf } from "./statusWords.ts"
import type { Verdict } from "./workerSession.ts"

/** Our word when the worker gives none. */
export const noAnswer = (state: WorkerState): WorkerHealth => ({
  healthy: false,
  metrics: { reason: reasonOf(state) ?? "Connecting" }
})

/** What a probe that others asked for tells them. `state`: when it is over. */
export const answerOf = (
  verdict: Verdict,
  state: WorkerState,
  lastHealth: WorkerHealth | undefined
): WorkerHealth => {
  switch (verdict._tag) {
    case "Answer":
      return verdict.health
    case "Closed":
      return noAnswer(state)
    case "Saturated":
      // It lives; what it said last is the best that is known of it.
      return { healthy: true, metrics: { ...lastHealth?.metrics, reason: "Saturated" } }
    case "Failed":
    case "Hung":
      return { healthy: false, metrics: { reason: verdict.reason } }
  }
}
