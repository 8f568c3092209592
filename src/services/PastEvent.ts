import { Schema } from "effect"

/**
 * What an event is about.
 *
 * - `worker`: its status changed; `reload`: it loads another model, or restarts in good order;
 * - `refusals`: streams were refused for one reason, in a row (no minute without one);
 * - `limit`: a bound of what a peer may take was reached;
 * - `billing`, `journal`: usage is not delivered, or not written, or is again;
 * - `drain`: began or ended; `config`: read again.
 */
export const EventKind = Schema.Literals([
  "worker",
  "reload",
  "refusals",
  "limit",
  "billing",
  "journal",
  "drain",
  "config"
])
export type EventKind = typeof EventKind.Type

/**
 * One thing that happened, as an operator reads it: an element of `events` in `/api/status`, a line of
 * `sidecar events --json`.
 */
export const PastEvent = Schema.Struct({
  /** Rises by one from event to event, from 1 at the start of the sidecar. */
  id: Schema.Int,
  /** Rises with every change of any event: what was seen up to one need not be looked at again. */
  revision: Schema.Int,
  /** When it began. ISO 8601 in UTC. */
  at: Schema.String,
  kind: EventKind,
  /** `warn`: somebody should look. */
  level: Schema.Literals(["info", "warn"]),
  /** One stable word: a `reason` of `/readyz`, a `cy-reason`, the name of a limit; null when nothing is wrong. */
  reason: Schema.NullOr(Schema.String),
  /** The same words as in the log. */
  text: Schema.String,
  /** How often, for what comes in a row. */
  count: Schema.Int,
  /** It is still so: the status that the worker has now, refusals that still come. */
  lasting: Schema.Boolean,
  /** How long it was so, or has been; null for what has no length. */
  seconds: Schema.NullOr(Schema.Finite)
})
export type PastEvent = typeof PastEvent.Type
