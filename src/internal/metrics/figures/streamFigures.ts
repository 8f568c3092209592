import type { StreamMetrics } from "../../../services/StreamMetrics.ts"
import { Outcome } from "../../../services/UsageRecord.ts"
import * as Histogram from "../histogram.ts"
import { wordCounter } from "../labelSets.ts"
import * as Bounds from "../metricBounds.ts"
import { byLabel, counter, gauge, histogram } from "../metricFamily.ts"
import { modelCounter } from "../modelCounter.ts"
import type { Figures } from "./figures.ts"

/** Models with a label of their own in `sidecar_model_tokens_total`; the tokens of all others are "other". */
const maxModels = 100

/**
 * A stream that was turned away or cut short took less time than it would have: among the others it would make an outage
 * look fast.
 */
const tookItsTime = (outcome: Outcome): boolean => {
  switch (outcome) {
    case "completed":
    case "cancelled":
    case "deadline":
    case "timeout":
    case "slow_reader":
      return true
    default:
      return false
  }
}

const circuitNumber = { closed: 0, half_open: 1, open: 2 }

/** `now`: monotonic milliseconds; `wallNow`: milliseconds since the epoch. */
export const make = (now: () => number, wallNow: () => number): Figures<StreamMetrics["Service"]> => {
  const total = {
    started: 0,
    success: 0,
    failed: 0,
    cancelled: 0,
    active: 0,
    sendErrors: 0,
    held: 0,
    queued: 0,
    replayed: 0,
    malformed: 0,
    circuit: 0
  }
  const duration = Histogram.make(Bounds.requestDuration, wallNow)
  const firstToken = Histogram.make(Bounds.timeToFirstToken, wallNow)
  const interToken = Histogram.make(Bounds.interToken)
  const overhead = Histogram.make(Bounds.streamOverhead)
  const hold = Histogram.make(Bounds.waiting, wallNow)
  const queue = Histogram.make(Bounds.waiting, wallNow)
  const cancel = Histogram.make(Bounds.cancelPropagation)
  const models = modelCounter(maxModels, now)
  const outcomes = wordCounter(Outcome.literals)

  const recorder: StreamMetrics["Service"] = {
    streamStarted: () => {
      total.started++
      total.active++
    },
    streamEnded: (outcome, seconds, traceId) => {
      total.active--
      if (outcome === "completed") total.success++
      else if (outcome === "cancelled") total.cancelled++
      else total.failed++
      outcomes.add(outcome)
      if (tookItsTime(outcome)) duration.observe(seconds, traceId)
    },
    modelTokens: models.of,
    firstToken: firstToken.observe,
    interToken: interToken.observe,
    streamOverhead: overhead.observe,
    cancelPropagated: cancel.observe,
    holdTime: hold.observe,
    queueTime: queue.observe,
    gatewaySendError: () => {
      total.sendErrors++
    },
    heldStreams: (count) => {
      total.held = count
    },
    queuedStreams: (count) => {
      total.queued = count
    },
    replayed: () => {
      total.replayed++
    },
    malformedFrame: () => {
      total.malformed++
    },
    circuitState: (next) => {
      total.circuit = circuitNumber[next]
    }
  }

  const families = [
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
    byLabel("counter", "sidecar_stream_outcomes_total", "Ended streams by outcome.", "outcome", outcomes.read),
    histogram("sidecar_request_duration_seconds", "Seconds from a stream's arrival to its end.", duration),
    counter("sidecar_tokens_processed_total", "Token chunks handed to gateways.", models.total),
    byLabel("counter", "sidecar_model_tokens_total", "Token chunks by model.", "model_id", models.read),
    counter(
      "sidecar_gateway_send_errors_total",
      "Answers that could not be sent to a gateway.",
      () => total.sendErrors
    ),
    gauge("sidecar_active_connections", "Streams in flight, held ones among them.", () => total.active),
    gauge("sidecar_streams_held", "Streams that wait for the worker to come back.", () => total.held),
    gauge("sidecar_streams_queued", "Streams that wait for a place at the worker.", () => total.queued),
    counter("sidecar_streams_replayed_total", "Streams that were sent to a worker again.", () => total.replayed),
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
    histogram("sidecar_hold_time_seconds", "Seconds that a stream waited for a worker that was away.", hold),
    histogram("sidecar_queue_time_seconds", "Seconds that a stream waited for a place at the worker.", queue),
    histogram("sidecar_stream_overhead_seconds", "Seconds that the sidecar added to a stream.", overhead),
    histogram(
      "sidecar_cancel_propagation_seconds",
      "Seconds from a gateway's cancellation to the worker's.",
      cancel
    ),
    gauge("sidecar_circuit_state", "The circuit breaker: 0 closed, 1 half open, 2 open.", () => total.circuit),
    counter(
      "sidecar_malformed_frames_total",
      "Frames that are not valid messages; carried through, not counted as tokens.",
      () => total.malformed
    )
  ]
  return { recorder, families }
}
