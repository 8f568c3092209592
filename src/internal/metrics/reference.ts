/** What docs/metrics.md says of a metric beside what the registry knows. */
export interface Reference {
  readonly section: "streams" | "latency" | "worker" | "usage" | "gateways" | "limits" | "port" | "process"
  /** Default: what its name ends with. */
  readonly unit?: string
  /** What it counts or measures, with the values of its labels. */
  readonly meaning: string
  /** What to do when it is not as it should be. */
  readonly todo?: string
}

/**
 * The words of docs/metrics.md, which `npm run docs:metrics` puts together with name, type, labels and buckets from the
 * registry. Nothing that runs imports them.
 */
export const references: Readonly<Record<string, Reference>> = {
  sidecar_requests_total: {
    section: "streams",
    unit: "streams",
    meaning: "streams that gateways opened",
    todo: "none come: look at the gateways, then at `sidecar_http2_sessions_closed_total`"
  },
  sidecar_requests_success_total: { section: "streams", unit: "streams", meaning: "streams that completed" },
  sidecar_requests_failed_total: {
    section: "streams",
    unit: "streams",
    meaning: "streams that ended neither completed nor cancelled",
    todo: "`sidecar_stream_outcomes_total` says how they ended"
  },
  sidecar_requests_cancelled_total: {
    section: "streams",
    unit: "streams",
    meaning: "streams that their gateway cancelled or left",
    todo: "many: are first tokens slow, or does a gateway break off?"
  },
  sidecar_stream_outcomes_total: {
    section: "streams",
    unit: "streams",
    meaning: "ended streams by outcome, see below",
    todo:
      "`failed` `truncated` `timeout`: the worker's log; `worker_lost`: `sidecar_worker_faults_total`; `refused`: `sidecar_refusals_total`; `deadline`: the queue and the worker's pace"
  },
  sidecar_active_connections: {
    section: "streams",
    unit: "streams",
    meaning: "streams in flight, held and queued ones among them",
    todo: "near `[server] max_concurrent_streams`: more sidecars, or a higher limit and its memory"
  },
  sidecar_streams_held: {
    section: "streams",
    unit: "streams",
    meaning: "streams that wait for the worker to come back (at most `[reload] max_held_streams`)",
    todo: "look at the worker: it reloads, or it is gone"
  },
  sidecar_streams_queued: {
    section: "streams",
    unit: "streams",
    meaning: "streams that wait for a place at the worker (`[server] max_worker_streams`)",
    todo: "never empty: more workers"
  },
  sidecar_streams_replayed_total: {
    section: "streams",
    unit: "streams",
    meaning: "streams sent to a worker again after the link broke before the first token",
    todo: "`sidecar_worker_faults_total` says why the link breaks"
  },
  sidecar_tokens_processed_total: {
    section: "streams",
    unit: "tokens",
    meaning:
      "token chunks handed to gateways, or more when the worker's trailers say so; notices and empty chunks are none",
    todo: "0 a second while streams are in flight: the worker is stuck"
  },
  sidecar_model_tokens_total: {
    section: "streams",
    unit: "tokens",
    meaning:
      "the same by model: at most 100 models, all others are `other`, no name is `unknown`. When all places are taken, a new model with tokens gets that of one that nobody asked for during an hour, or of the one with the fewest, whose tokens go to `other` (32 times at once, then once a minute)",
    todo: "much `other` or `unknown`: who sends such names?"
  },
  sidecar_grpc_handled_total: {
    section: "streams",
    unit: "calls",
    meaning: "ended gRPC calls of any method; methods the sidecar does not know are `other`",
    todo: "`UNIMPLEMENTED`: a gateway calls what neither sidecar nor worker has"
  },
  sidecar_gateway_send_errors_total: {
    section: "streams",
    unit: "streams",
    meaning: "answers that could not be sent: the gateway was gone",
    todo: "the network to the gateways, or their time limits"
  },
  sidecar_open_calls: {
    section: "streams",
    unit: "calls",
    meaning:
      "calls that hold no place at the worker's streams: `own` (the sidecar answers them itself), `carried` (a method it gives no meaning), `silent` (no whole message yet)",
    todo: "many `silent`: a gateway opens calls and sends nothing; the log names its address"
  },
  sidecar_refusals_total: {
    section: "streams",
    unit: "calls",
    meaning:
      "calls of any method that the sidecar turned away, by the `cy-reason` that it gave ([gateways.md](gateways.md)): `worker_disconnected` `worker_reloading` `worker_unhealthy` `hold_full` `hold_timeout` `queue_full` `queue_timeout` `too_many_streams` `too_many_calls` `tenant_limit` `circuit_open` `draining` `metadata_too_large` `message_too_large` …; a hook's own words, then `other`",
    todo:
      "`worker_…` `hold_…` `circuit_open`: the worker, see `GET /readyz`; `queue_…` `too_many_…`: more workers or a higher limit; `…_too_large`: the gateway"
  },
  sidecar_metadata_rejected_total: {
    section: "streams",
    unit: "calls",
    meaning: "calls refused for their metadata (`[server] max_metadata_bytes`)",
    todo: "a gateway or a mesh adds large headers"
  },
  sidecar_malformed_frames_total: {
    section: "streams",
    unit: "frames",
    meaning: "frames that are no valid message; carried through, not counted as tokens",
    todo: "the worker speaks another version of the contract: its tokens are not billed"
  },
  sidecar_time_to_first_token_seconds: {
    section: "latency",
    meaning: "from a stream's arrival to its first token, handed to the gateway; with exemplars",
    todo:
      "`sidecar_hold_time_seconds` and `sidecar_queue_time_seconds` say what it waited, `sidecar_stream_overhead_seconds` what the sidecar added; the rest is the worker"
  },
  sidecar_inter_token_latency_seconds: {
    section: "latency",
    meaning: "from one token of a stream to the next",
    todo: "the worker is short of power, or has too many streams: `[server] max_worker_streams`"
  },
  sidecar_request_duration_seconds: {
    section: "latency",
    meaning:
      "from a stream's arrival to its end; with exemplars. Streams that were refused or cut short (`failed` `worker_lost` `truncated` `drained`) are not among them: they would make an outage look fast",
    todo: "longer with the same number of tokens: see the time between tokens"
  },
  sidecar_hold_time_seconds: {
    section: "latency",
    meaning:
      "what a stream waited for a worker that was away, observed when it waits no more, whatever became of it; streams that did not wait are not among them; with exemplars",
    todo: "near `sidecar_limit{name=\"hold_timeout_secs\"}` streams are refused: reload faster, or hold longer"
  },
  sidecar_queue_time_seconds: {
    section: "latency",
    meaning: "the same for a place at the worker (`[server] max_worker_streams`)",
    todo: "near `sidecar_limit{name=\"queue_timeout_secs\"}` streams are refused: more workers"
  },
  sidecar_stream_overhead_seconds: {
    section: "latency",
    meaning: "what the sidecar added to a stream: admission and metering, without the time it was held or queued",
    todo: "milliseconds: the machine is short of CPU (`nodejs_eventloop_lag_p99_seconds`), or its disk is slow"
  },
  sidecar_cancel_propagation_seconds: {
    section: "latency",
    meaning:
      "from a gateway's cancellation of a stream at the worker (a missed deadline is none) to the worker's cancellation",
    todo: "more than 5 ms: the same"
  },
  sidecar_worker_connection_status: {
    section: "worker",
    unit: "state",
    meaning: "1 connected, 0 disconnected or connecting, 2 reloading",
    todo: "0: `GET /readyz` says the reason and the remedy"
  },
  sidecar_worker_status: {
    section: "worker",
    unit: "state",
    meaning: "1 for the state it is in, 0 for the others: `connecting` `connected` `reloading` `disconnected`",
    todo: "as above"
  },
  sidecar_worker_connection_errors_total: {
    section: "worker",
    unit: "errors",
    meaning: "failed dials and lost links",
    todo: "`sidecar_worker_faults_total` says how"
  },
  sidecar_worker_faults_total: {
    section: "worker",
    unit: "errors",
    meaning: "the same by cause, for example `SocketMissing`, `ConnectionRefused`, `LinkBroken`",
    todo: "[troubleshooting.md](troubleshooting.md) has each"
  },
  sidecar_worker_reconnects_total: {
    section: "worker",
    unit: "connections",
    meaning: "times it was connected again, after it was lost or had asked for a new connection",
    todo: "often: it crashes, or its `max_connection_age` is short"
  },
  sidecar_worker_saturated: {
    section: "worker",
    unit: "state",
    meaning: "1 while it is connected and saturated: it shows signs of life, and has no thread to answer Health",
    todo: "`[server] max_worker_streams` one below the worker's threads"
  },
  sidecar_worker_saturated_checks_total: {
    section: "worker",
    unit: "checks",
    meaning: "health checks that got no answer while frames or an acknowledged PING showed that it lives",
    todo: "as above"
  },
  sidecar_worker_health: {
    section: "worker",
    unit: "the worker's",
    meaning:
      "the numbers among what the worker says of itself in Health, by its names: at most 50 names of letters, digits and `_.:-`, those that came first; no series while it is disconnected",
    todo: "the worker's documentation"
  },
  sidecar_worker_health_age_seconds: {
    section: "worker",
    meaning: "age of its last answer to Health; no series before the first",
    todo: "more than two `[health] check_interval_secs`: it is busy, or away"
  },
  sidecar_circuit_state: {
    section: "worker",
    unit: "state",
    meaning: "circuit breaker: 0 closed, 1 half open, 2 open",
    todo: "2: the worker takes streams and breaks them; its log says why"
  },
  sidecar_usage_records: {
    section: "usage",
    unit: "records",
    meaning:
      "records: `open` (streams that run), `waiting`, `acknowledged`, `set_aside` (refused by the billing service), `merged` (beyond the queue's size), `unsaved` (only in memory)",
    todo:
      "`waiting` grows: the billing service; `set_aside`: `sidecar usage quarantine list`; `unsaved`: the disk; `merged`: `[metering] offline_queue_size`"
  },
  sidecar_usage_tokens: {
    section: "usage",
    unit: "tokens",
    meaning:
      "tokens by where they are; always `delivered` = `waiting` + `acknowledged` + `set_aside`. `open`: of streams that still run",
    todo: "not in balance for minutes: keep the journal file, report a bug"
  },
  sidecar_usage_reports_total: {
    section: "usage",
    unit: "reports",
    meaning: "reports to the billing service: `accepted` `duplicate` `retry` `split` `set_aside`",
    todo: "`retry`: the service is away or refuses; the log has its words"
  },
  sidecar_usage_suspect_total: {
    section: "usage",
    unit: "streams",
    meaning:
      "streams whose usage a biller should look at: `completion_tokens`, `prompt_tokens` (the worker's trailer was no count up to 10⁹ and was not believed; logged once), `large_chunk` (a chunk of more than 256 bytes, which is more text than a token has, counted as one because the worker told no number of its own)",
    todo: "let the worker send `cy-completion-tokens` in its trailers"
  },
  sidecar_usage_lag_seconds: {
    section: "usage",
    meaning: "age of the oldest record that waits",
    todo: "minutes: is the billing service up, and `[metering] billing_endpoint` right?"
  },
  sidecar_journal_errors_total: {
    section: "usage",
    unit: "errors",
    meaning:
      "failures of the journal, in writing or in reading: `full` `readonly` `corrupt` `locked` `stalled` `stopped` `moved` (its file was moved or deleted under the sidecar) `io`",
    todo: "the disk of `[metering] journal_path`; counts wait in memory, do not restart before it is mended"
  },
  sidecar_gateway_connections: {
    section: "gateways",
    unit: "connections",
    meaning: "open connections, those in a TLS handshake among them",
    todo: "near `[server] max_connections`: who opens so many?"
  },
  sidecar_http2_limits_total: {
    section: "gateways",
    unit: "times",
    meaning:
      "times that a limit has bitten. Of the port: `connections` `address_connections` (`[server] max_connections`, `max_connections_per_address`; the longest idle one makes room), `descriptors` (no file descriptor left), `accept`. Of one connection, which is then closed: see the table in [http2.md](http2.md)",
    todo: "the log names the peer; `descriptors`: raise `LimitNOFILE`"
  },
  sidecar_http2_sessions_closed_total: {
    section: "gateways",
    unit: "connections",
    meaning:
      "connections that are over, by HTTP/2 error code in lower case (`no_error` `protocol_error` `enhance_your_calm` …); `none`: the socket closed without a word; `http1` `not_http2` `tls_on_plaintext`: the peer spoke something else; `plaintext_on_tls` `handshake_timeout` `handshake_failed`: there was no TLS",
    todo: "anything but `no_error` and `none`: that peer's library or its settings"
  },
  sidecar_limit: {
    section: "limits",
    unit: "its key's",
    meaning:
      "the bounds that are in force, by the name of their key in `sidecar.toml`; no series: no bound. How near: `sidecar_active_connections` (`max_concurrent_streams`), `sidecar_streams_held` (`max_held_streams`), `sidecar_streams_queued` (`max_queued_streams`), `sidecar_open_calls{kind=\"own\"}` (`max_own_calls`), `sidecar_unfinished_bytes` (`max_unfinished_bytes`), `sidecar_gateway_connections` (`max_connections`), `sidecar_usage_records{state=\"waiting\"}` (`offline_queue_size`)"
  },
  sidecar_limits_total: {
    section: "limits",
    unit: "times",
    meaning:
      "times that a bound of what a peer may take was reached: `own_calls`, `silent_calls`, `first_message`, `unfinished_bytes`, `request_bytes`, `worker_cancels`, `inflate`, `spans`; each is told in the log, at most once a minute",
    todo: "the log names the peer and the key"
  },
  sidecar_unfinished_bytes: {
    section: "limits",
    meaning: "bytes of messages that have begun and are not whole, over all calls (`[server] max_unfinished_bytes`)",
    todo: "near the limit senders wait: who sends large messages slowly?"
  },
  sidecar_ops_limits_total: {
    section: "port",
    unit: "connections",
    meaning:
      "connections that it closed: `connections` (more than `[observability] metrics_max_connections`: the longest idle one makes room), `pipelined` (a peer that asked far ahead of the answers)",
    todo: "fewer scrapers, or connections that they keep"
  },
  sidecar_build_info: { section: "process", unit: "1", meaning: "what runs here; the value is always 1" },
  nodejs_eventloop_lag_p99_seconds: {
    section: "process",
    meaning: "99th percentile of the lag since the last scrape: one token in a hundred is that late, or later",
    todo: "more than 0.1: CPU is short, or one sidecar has too many streams"
  },
  process_open_fds: {
    section: "process",
    unit: "descriptors",
    meaning: "open file descriptors (Linux)",
    todo: "near `process_max_fds`: raise `LimitNOFILE`"
  },
  process_resident_memory_bytes: {
    section: "process",
    meaning: "resident memory",
    todo: "it grows with streams in flight; the container's limit needs room for `[server] max_concurrent_streams`"
  }
}
