import type { Metadata } from "../../services/Wire.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"
import { first } from "../wire/metadata.ts"

const DEFAULT_NOTICE = "[System] Loading new model, ETA {eta}s..."

/**
 * What a held stream's user is told, if anything: `[reload] hold_notice` for all, or on request (metadata
 * `cy-notice: message`). `{eta}` becomes the seconds until the worker expects to be back, or until the patience ends.
 */
export const noticeOf = (options: {
  readonly metadata: Metadata
  readonly configured: string
  readonly state: WorkerState
  readonly patienceMillis: number
}): string | undefined => {
  const { configured, metadata, patienceMillis, state } = options
  const text = configured === "" && first(metadata, "cy-notice") === "message" ? DEFAULT_NOTICE : configured
  if (text === "") return undefined
  const millis = state._tag === "Reloading" && state.until !== undefined ? state.until - state.since : patienceMillis
  return text.replace("{eta}", String(Math.max(1, Math.ceil(millis / 1000))))
}
