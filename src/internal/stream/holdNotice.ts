import type { Metadata, ServerCall } from "../../services/Wire.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"
import { first } from "../wire/metadata.ts"
import { noticeFrame } from "./replayedFrames.ts"

const DEFAULT_NOTICE = "[System] Loading new model, ETA {eta}s..."

/** What a notice is made of. */
export interface HoldNotice {
  /** `[reload] hold_notice`. */
  readonly configured: string
  readonly state: WorkerState
  /** How long the stream will be held at most. */
  readonly patienceMillis: number
}

/**
 * What a held stream's user is told, if anything: `[reload] hold_notice` for all, or on request (metadata
 * `cy-notice: message`); nothing to whom says `cy-notice: none`. `{eta}` becomes the seconds until the worker expects to
 * be back, or until the patience ends.
 */
const noticeOf = (metadata: Metadata, { configured, patienceMillis, state }: HoldNotice): string | undefined => {
  const wish = first(metadata, "cy-notice")
  const text = configured === "" && wish === "message" ? DEFAULT_NOTICE : configured
  if (text === "" || wish === "none") return undefined
  const millis = state._tag === "Reloading" && state.until !== undefined ? state.until - state.since : patienceMillis
  return text.replace("{eta}", String(Math.max(1, Math.round(millis / 1000))))
}

/** Sends the notice, if there is one to send; answers whether there was. */
export const sendNotice = (call: ServerCall, notice: HoldNotice): boolean => {
  const text = noticeOf(call.metadata, notice)
  if (text === undefined) return false
  call.sendHeaders({})
  call.write(noticeFrame(text))
  return true
}
