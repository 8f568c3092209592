import type { WorkerState } from "../../services/WorkerConnection.ts"
import { counted, lasting } from "../words.ts"

/** One line for the log. */
export interface Saying {
  readonly level: "Info" | "Warn"
  readonly text: string
}

/** What a change of the status is worth in the log: each change once, an attempt more of the same kind nothing. */
export const sayChange = (before: WorkerState, after: WorkerState): Saying | undefined => {
  switch (after._tag) {
    case "Connected":
      return before._tag === "Connected" ? undefined : { level: "Info", text: "connected to worker" }
    case "Reloading": {
      if (after.restarting === true) {
        const text = "the worker said goodbye and is not back yet: new streams are held meanwhile"
        return { level: "Info", text }
      }
      if (before._tag === "Reloading" && before.restarting !== true) return undefined
      const eta = after.until === undefined ? "" : `, back in about ${lasting(after.until - after.since)}`
      return { level: "Info", text: `worker is reloading: new streams are held${eta}` }
    }
    case "Disconnected": {
      if (before._tag === "Disconnected" && before.reason === after.reason) return undefined
      if (after.reason === "Stopped") return undefined
      const level = after.reason === "GoingAway" ? "Info" : "Warn"
      return { level, text: `worker not connected (${after.reason}): ${after.detail}; ${after.remedy}` }
    }
    case "Connecting":
      return undefined
  }
}

/** Said once: probes starve behind streams. */
export const saturated = (openCalls: number): string =>
  `the worker's Health answers late while ${counted(openCalls, "call")} ${
    openCalls === 1 ? "is" : "are"
  } open: all its threads are busy with streams, which ` +
  "does not mean that it is down; set [server] max_worker_streams below its number of threads (a CY-LLM worker has 10)"

/** Said once: it is not our streams that keep the worker from answering. */
export const late =
  "the worker's Health answers late, and no call of this sidecar is open: its machine or somebody else keeps it busy, which " +
  "does not mean that it is down"

/** Said once for each outage: the first phase of the reconnect schedule is over. */
export const exhausted = (attempts: number, everySecs: number): string =>
  `${
    counted(attempts, "attempt")
  } to reach the worker failed ([health] max_reconnect_attempts); trying again every ${everySecs}s`
