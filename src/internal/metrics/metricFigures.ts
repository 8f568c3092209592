import { LimitName } from "../../services/Limits.ts"
import type { Metrics } from "../../services/Metrics.ts"
import type { JournalFaultReason } from "../../services/UsageJournal.ts"
import { Outcome } from "../../services/UsageRecord.ts"
import { LinkFault } from "../../services/WorkerChannel.ts"
import type { WorkerState } from "../../services/WorkerConnection.ts"
import * as Histogram from "./histogram.ts"
import { handledCounter, modelCounter, wordCounter } from "./labelSets.ts"
import * as Bounds from "./metricBounds.ts"
import { byLabel, counter, gauge, histogram, type MetricFamily } from "./metricFamily.ts"

/** The part of the `Metrics` service that records. */
export type Recorder = Omit<Metrics["Service"], "scrape" | "figures" | "beforeReading">

/** Models with a label of their own in `sidecar_model_tokens_total`; the tokens of all others are "other". */
const maxModels = 100

const workerStates = ["connecting", "connected", "reloading", "disconnected"] as const

const workerStateWord: Record<WorkerState["_tag"], typeof workerStates[number]> = {
  Connecting: "connecting",
  Connected: "connected",
  Reloading: "reloading",
  Disconnected: "disconnected"
}

const connectionStatus: Record<WorkerState["_tag"], number> = {
  Connecting: 0,
  Disconnected: 0,
  Connected: 1,
  Reloading: 2
}

const journalFaults: ReadonlyArray<JournalFaultReason> = [
  "full",
  "readonly",
  "corrupt",
  "locked",
  "stalled",
  "stopped",
  "moved",
  "io"
]

const http2LimitWords = [
  "resets",
  "made_resets",
  "settings",
  "pings",
  "empty_data",
  "window_updates",
  "ignored_frames",
  "stray_frames",
  "header_block",
  "unread_output",
  "connections",
  "address_connections",
  "descriptors",
  "accept"
]

const http2CloseWords = [
  "no_error",
  "protocol_error",
  "internal_error",
  "flow_control_error",
  "settings_timeout",
  "stream_closed",
  "frame_size_error",
  "refused_stream",
  "cancel",
  "compression_error",
  "connect_error",
  "enhance_your_calm",
  "inadequate_security",
  "http_1_1_required",
  "unknown",
  "none",
  "http1",
  "not_http2",
  "tls_on_plaintext",
  "plaintext_on_tls",
  "handshake_timeout",
  "handshake_failed"
]

const circuitNumber = { closed: 0, half_open: 1, open: 2 }

/**
 * The figures of one sidecar: plain fields that the recorder adds to, and the families that read them at a scrape. Every
 * method that a token or a stream calls is arithmetic on these fields.
 *
 * @param now monotonic milliseconds
 */
export const make = (
  now: () => number
): { readonly recorder: Recorder; readonly families: ReadonlyArray<MetricFamily> } => {
  const total = {
    started: 0,
    success: 0,
    failed: 0,
    cancelled: 0,
    active: 0,
    sendErrors: 0,
    connectionErrors: 0,
    reconnects: 0,
    saturated: 0,
    held: 0,
    queued: 0,
    unfinished: 0,
    replayed: 0,
    circuit: 0,
    metadataRejected: 0,
    malformed: 0,
    usageLag: 0,
    gatewayConnections: 0
  }
  let state: WorkerState["_tag"] = "Connecting"
  let saturated = false
  const duration = Histogram.make(Bounds.requestDuration)
  const firstToken = Histogram.make(Bounds.timeToFirstToken)
  const interToken = Histogram.make(Bounds.interToken)
  const overhead = Histogram.make(Bounds.streamOverhead)
  const cancel = Histogram.make(Bounds.cancelPropagation)
  const handled = handledCounter()
  const models = modelCounter(maxModels, now)
  const outcomes = wordCounter(Outcome.literals)
  const calls = wordCounter(["own", "carried", "silent"])
  const limits = wordCounter(LimitName.literals)
  const faults = wordCounter(LinkFault.literals)
  const records = wordCounter(["open", "waiting", "acknowledged", "set_aside", "merged", "unsaved"])
  const recordTokens = wordCounter(["open", "delivered", "waiting", "acknowledged", "set_aside"])
  const reports = wordCounter(["accepted", "duplicate", "retry", "split", "set_aside"])
  const suspects = wordCounter(["completion_tokens", "prompt_tokens", "large_chunk"])
  const journalErrors = wordCounter(journalFaults)
  const http2Limits = wordCounter(http2LimitWords)
  const http2Closes = wordCounter(http2CloseWords)
  const opsLimits = wordCounter(["connections", "pipelined"])

  const recorder: Recorder = {
    streamStarted: () => {
      total.started++
      total.active++
    },
    streamEnded: (outcome, seconds) => {
      total.active--
      if (outcome === "completed") total.success++
      else if (outcome === "cancelled") total.cancelled++
      else total.failed++
      outcomes.add(outcome)
      // A refusal takes no time: among the streams it would make an outage look fast.
      if (outcome !== "refused") duration.observe(seconds)
    },
    handled: handled.add,
    modelTokens: models.of,
    firstToken: firstToken.observe,
    interToken: interToken.observe,
    streamOverhead: overhead.observe,
    cancelPropagated: cancel.observe,
    gatewaySendError: () => {
      total.sendErrors++
    },
    workerState: (next) => {
      state = next._tag
      saturated = next._tag === "Connected" && next.saturatedSince !== undefined
    },
    workerConnectionError: (fault) => {
      total.connectionErrors++
      faults.add(fault)
    },
    workerReconnected: () => {
      total.reconnects++
    },
    workerSaturated: () => {
      total.saturated++
    },
    heldStreams: (count) => {
      total.held = count
    },
    queuedStreams: (count) => {
      total.queued = count
    },
    openCalls: calls.set,
    unfinishedBytes: (bytes) => {
      total.unfinished = bytes
    },
    limitReached: limits.add,
    replayed: () => {
      total.replayed++
    },
    circuitState: (next) => {
      total.circuit = circuitNumber[next]
    },
    metadataRejected: () => {
      total.metadataRejected++
    },
    malformedFrame: () => {
      total.malformed++
    },
    opsLimited: opsLimits.add,
    gatewayConnections: (count) => {
      total.gatewayConnections = count
    },
    http2Limited: http2Limits.add,
    http2SessionClosed: http2Closes.add,
    usageRecords: records.set,
    usageTokens: recordTokens.set,
    usageSuspect: suspects.add,
    usageReport: reports.add,
    usageLag: (seconds) => {
      total.usageLag = seconds
    },
    journalError: journalErrors.add,
    activeStreams: () => total.active
  }

  const families: ReadonlyArray<MetricFamily> = [
    counter("sidecar_requests_total", "Streams that gateways opened.", () => total.started),
    counter("sidecar_requests_success_total", "Streams that completed.", () => total.success),
    counter(
      "sidecar_requests_failed_total",
      "Streams that ended neither completed nor cancelled by their gateway.",
      () => total.failed
    ),
    counter(
      "sidecar_requests_cancelled_total",
      "Streams that their gateway cancelled or left.",
      () => total.cancelled
    ),
    histogram("sidecar_request_duration_seconds", "Seconds from a stream's arrival to its end.", duration),
    counter("sidecar_tokens_processed_total", "Token chunks handed to gateways.", models.total),
    gauge(
      "sidecar_worker_connection_status",
      "The worker's status: 1 connected, 0 disconnected or connecting, 2 reloading.",
      () => connectionStatus[state]
    ),
    counter(
      "sidecar_worker_connection_errors_total",
      "Failed dials and broken links to the worker.",
      () => total.connectionErrors
    ),
    counter(
      "sidecar_gateway_send_errors_total",
      "Answers that could not be sent to a gateway.",
      () => total.sendErrors
    ),
    gauge("sidecar_active_connections", "Streams in flight, held ones among them.", () => total.active),
    byLabel("counter", "sidecar_stream_outcomes_total", "Ended streams by outcome.", "outcome", outcomes.read),
    histogram(
      "sidecar_time_to_first_token_seconds",
      "Seconds from a stream's arrival to its first token.",
      firstToken
    ),
    histogram(
      "sidecar_inter_token_latency_seconds",
      "Seconds between one token of a stream and the next.",
      interToken
    ),
    histogram("sidecar_stream_overhead_seconds", "Seconds that the sidecar added to a stream.", overhead),
    histogram(
      "sidecar_cancel_propagation_seconds",
      "Seconds from a gateway's cancellation to the worker's.",
      cancel
    ),
    byLabel(
      "gauge",
      "sidecar_worker_status",
      "1 for the worker's status, 0 for every other.",
      "state",
      () => workerStates.map((word) => [word, workerStateWord[state] === word ? 1 : 0] as const)
    ),
    byLabel("counter", "sidecar_worker_faults_total", "Failed dials and broken links by cause.", "fault", faults.read),
    counter(
      "sidecar_worker_reconnects_total",
      "Times the worker was connected again after it was lost or had asked for a new connection.",
      () => total.reconnects
    ),
    counter(
      "sidecar_worker_saturated_total",
      "Health checks that timed out while frames or an acknowledged PING showed that the worker lives.",
      () => total.saturated
    ),
    gauge(
      "sidecar_worker_saturated",
      "1 while the worker is saturated: alive, and without a thread to answer Health.",
      () => saturated ? 1 : 0
    ),
    gauge("sidecar_streams_held", "Streams that wait for the worker to come back.", () => total.held),
    gauge("sidecar_streams_queued", "Streams that wait for a place at the worker.", () => total.queued),
    byLabel(
      "gauge",
      "sidecar_open_calls",
      "Open calls that hold no place at the worker's streams, by kind.",
      "kind",
      calls.read
    ),
    gauge(
      "sidecar_unfinished_bytes",
      "Bytes of messages that have begun and are not whole, over all calls.",
      () => total.unfinished
    ),
    byLabel(
      "counter",
      "sidecar_limits_total",
      "Times that a bound of what a peer may take was reached.",
      "limit",
      limits.read
    ),
    counter("sidecar_streams_replayed_total", "Streams that were sent to a worker again.", () => total.replayed),
    gauge("sidecar_circuit_state", "The circuit breaker: 0 closed, 1 half open, 2 open.", () => total.circuit),
    byLabel("counter", "sidecar_model_tokens_total", "Token chunks by model.", "model_id", models.read),
    byLabel("gauge", "sidecar_usage_records", "Usage records by state.", "state", records.read),
    byLabel("gauge", "sidecar_usage_tokens", "Metered tokens by where they are.", "state", recordTokens.read),
    byLabel(
      "counter",
      "sidecar_usage_reports_total",
      "Reports to the billing service by result.",
      "result",
      reports.read
    ),
    byLabel(
      "counter",
      "sidecar_usage_suspect_total",
      "Streams whose usage a biller should look at, by reason.",
      "reason",
      suspects.read
    ),
    gauge("sidecar_usage_lag_seconds", "Age of the oldest usage record that waits.", () => total.usageLag),
    byLabel(
      "counter",
      "sidecar_journal_errors_total",
      "Failures of the usage journal by reason.",
      "reason",
      journalErrors.read
    ),
    counter(
      "sidecar_metadata_rejected_total",
      "Calls or metadata keys that were kept from the worker.",
      () => total.metadataRejected
    ),
    counter(
      "sidecar_malformed_frames_total",
      "Frames that are not valid messages; carried through, not counted as tokens.",
      () => total.malformed
    ),
    gauge("sidecar_gateway_connections", "Open connections of gateways.", () => total.gatewayConnections),
    byLabel(
      "counter",
      "sidecar_http2_limits_total",
      "Times that a limit for gateway connections has bitten.",
      "limit",
      http2Limits.read
    ),
    byLabel(
      "counter",
      "sidecar_http2_sessions_closed_total",
      "Gateway connections that are over, by HTTP/2 error code, or by why they never were HTTP/2.",
      "code",
      http2Closes.read
    ),
    byLabel(
      "counter",
      "sidecar_ops_limits_total",
      "Connections of the metrics server that were closed, by the limit that they had reached.",
      "limit",
      opsLimits.read
    ),
    {
      type: "counter",
      name: "sidecar_grpc_handled_total",
      help: "gRPC calls that ended, by method and status.",
      labelNames: ["method", "code"],
      read: handled.read
    }
  ]
  return { recorder, families }
}
