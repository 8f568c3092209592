import { Context, Schema } from "effect"

/**
 * The bounds of what a peer may take, as labels of `sidecar_limits_total`.
 *
 * - `own_calls`: `[server] max_own_calls`; the oldest of the peer that has most of them ended.
 * - `silent_calls`: as many calls without a whole message as `[server] max_concurrent_streams`; ended likewise.
 * - `first_message`: `[server] first_message_timeout_secs`.
 * - `unfinished_bytes`: `[server] max_unfinished_bytes`.
 * - `request_bytes`: `[server] max_buffered_request_bytes`.
 * - `worker_cancels`: `[server] max_worker_cancels_per_sec`; the answer is read and dropped.
 * - `inflate`: compressed messages that were not looked into.
 * - `spans`: spans that wait for the collector of traces; further ones were dropped.
 */
export const LimitName = Schema.Literals([
  "own_calls",
  "silent_calls",
  "first_message",
  "unfinished_bytes",
  "request_bytes",
  "worker_cancels",
  "inflate",
  "spans"
])
export type LimitName = typeof LimitName.Type

/** Tells that a bound was reached: counts it each time, and logs one line, at most once a minute for each bound. */
export interface LimitTeller {
  /** `detail`: what happened to whom, and the key that decides it; one line for the log. */
  readonly reached: (limit: LimitName, detail: () => string) => void
}

/** Where bounds are told. A reference: without a layer (`layers/LimitLog`) nobody hears of them. */
export const Limits = Context.Reference<LimitTeller>("cy-llm-sidecar/Limits", {
  defaultValue: () => ({ reached: () => undefined })
})
