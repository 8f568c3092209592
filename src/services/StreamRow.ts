import { Schema } from "effect"

/**
 * A stream that is under way, as an operator reads it: an element of `running` in `/api/status`, a row of `sidecar streams`.
 * Durations are seconds.
 */
export const StreamRow = Schema.Struct({
  /** Of its usage record; what `sidecar stream kill` takes. */
  id: Schema.String,
  state: Schema.Literals(["held", "queued", "at the worker"]),
  model: Schema.String,
  tenant: Schema.String,
  peer: Schema.String,
  trace_id: Schema.String,
  /** Since its headers came. */
  age_seconds: Schema.Finite,
  /** Token chunks that its gateway has been given. */
  tokens: Schema.Int,
  /** Over its age. */
  tokens_per_second: Schema.Finite,
  /** Until its caller's deadline; null: it has none. */
  deadline_seconds: Schema.NullOr(Schema.Finite)
})
export type StreamRow = typeof StreamRow.Type
