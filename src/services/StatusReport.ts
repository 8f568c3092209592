import { Schema } from "effect"
import { PastEvent } from "./PastEvent.ts"
import { StreamRow } from "./StreamRow.ts"

const { Boolean, Finite, Int, NullOr, String } = Schema
const Word = String
/** ISO 8601 in UTC. */
const Time = String

/** Seconds; null when nothing was observed. */
const Quantiles = Schema.Struct({
  count: Int,
  mean: NullOr(Finite),
  p50: NullOr(Finite),
  p95: NullOr(Finite),
  p99: NullOr(Finite)
})

/** How many of each, by name. */
const Counts = Schema.Array(Schema.Tuple([String, Finite]))

/** The answer of `/readyz`. */
const Readiness = Schema.Struct({
  ready: Boolean,
  new_streams: Schema.Literals(["served", "held", "refused"]),
  held_until: NullOr(Time),
  status: Schema.Literals(["connecting", "connected", "reloading", "disconnected"]),
  reason: NullOr(Word),
  detail: NullOr(String),
  remedy: NullOr(String),
  since: Time,
  retry_at: NullOr(Time),
  back_at: NullOr(Time),
  draining: Boolean,
  streams_in_flight: Int,
  journal: NullOr(Schema.Struct({
    status: Schema.Literals(["ok", "failing"]),
    reason: NullOr(Word),
    detail: NullOr(String),
    since: NullOr(Time),
    unsaved: Int
  })),
  billing: NullOr(Schema.Struct({
    status: Schema.Literals(["ok", "failing"]),
    reason: NullOr(Word),
    detail: NullOr(String),
    remedy: NullOr(String),
    since: NullOr(Time)
  }))
})

/**
 * The answer of `/api/status`: all that the status page shows. Numbers are numbers; durations are seconds, sizes are bytes.
 * Fields are only ever added.
 */
export const StatusReport = Schema.Struct({
  now: Time,
  version: String,
  started_at: Time,
  uptime_seconds: Finite,
  /** Who answers. `sidecar_id`: of the usage records; null without a journal. */
  identity: Schema.Struct({ host: String, pid: Int, sidecar_id: NullOr(String) }),
  readiness: Readiness,
  streams: Schema.Struct({
    in_flight: Int,
    held: Int,
    queued: Int,
    limit: Int,
    total: Int,
    success: Int,
    failed: Int,
    cancelled: Int,
    replayed: Int
  }),
  tokens: Schema.Struct({
    total: Finite,
    /** Over the last ten seconds or so. */
    per_second: Finite,
    /** Tokens a second in each step of the last minutes, the oldest first. */
    history: Schema.Array(Finite),
    history_step_seconds: Finite
  }),
  /** The last minutes, `seconds` of them. */
  recent: Schema.Struct({
    seconds: Finite,
    success: Int,
    failed: Int,
    cancelled: Int,
    /** 0 to 1; null: no stream ended. */
    success_ratio: NullOr(Finite)
  }),
  /** Over the same time, by name: `first_token`, `inter_token`, `duration`, `overhead`, `cancel`. */
  latency: Schema.Record(String, Quantiles),
  worker: Schema.Struct({
    reconnects: Int,
    connection_errors: Int,
    circuit: Schema.Literals(["closed", "half open", "open", "unknown"]),
    /** Its last answer to Health; `as_of`: not later than this, null: it is the current one. */
    health: NullOr(Schema.Struct({
      healthy: Boolean,
      as_of: NullOr(Time),
      metrics: Schema.Array(Schema.Tuple([String, String]))
    }))
  }),
  /** Tokens by model, the largest first. */
  models: Counts,
  /** Streams by outcome, since the start. */
  outcomes: Counts,
  /** Refused calls by `cy-reason`, since the start, the most frequent first. */
  refusals: Counts,
  /** Bounds that a peer may reach, by the name of their key. */
  limits: Schema.Array(Schema.Struct({ name: Word, value: Finite, limit: Finite })),
  /** Streams under way, the oldest ones; `streams.in_flight` is how many there are. */
  running: Schema.Array(StreamRow),
  usage: Schema.Struct({
    open: Int,
    waiting: Int,
    set_aside: Int,
    acknowledged: Int,
    lag_seconds: Finite,
    queue_size: Int,
    billing: Boolean
  }),
  /** The sidecar's own process. `cpu_ratio`: 1 is one core; `loop_p90_seconds`: how late the event loop comes, since the last scrape. */
  process: Schema.Struct({
    rss_bytes: Int,
    cpu_ratio: Finite,
    loop_p90_seconds: Finite,
    open_fds: NullOr(Int)
  }),
  /** What happened lately, the oldest first. */
  events: Schema.Array(PastEvent),
  config: Schema.Struct({
    gateway_address: Schema.Array(String),
    tls: String,
    max_worker_streams: Int,
    hold_timeout_secs: Finite,
    drain_timeout_secs: Finite,
    durability: Word,
    log_level: Word
  })
})
export type StatusReport = typeof StatusReport.Type
