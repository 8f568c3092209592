/**
 * Upper bounds of histogram buckets, in seconds. The first three are those of vLLM (`vllm:time_to_first_token_seconds`,
 * `vllm:inter_token_latency_seconds`, `vllm:e2e_request_latency_seconds`), so that one dashboard can lay the sidecar's
 * curve over the engine's.
 */
export const timeToFirstToken = [
  0.001,
  0.005,
  0.01,
  0.02,
  0.04,
  0.06,
  0.08,
  0.1,
  0.25,
  0.5,
  0.75,
  1,
  2.5,
  5,
  7.5,
  10,
  20,
  40,
  80,
  160,
  640,
  2560
]

export const interToken = [
  0.01,
  0.025,
  0.05,
  0.075,
  0.1,
  0.15,
  0.2,
  0.3,
  0.4,
  0.5,
  0.75,
  1,
  2.5,
  5,
  7.5,
  10,
  20,
  40,
  80
]

/** vLLM's begin at 0.3 s; the ones below tell a refusal from an answer. */
export const requestDuration = [
  0.005,
  0.05,
  0.1,
  0.3,
  0.5,
  0.8,
  1,
  1.5,
  2,
  2.5,
  5,
  10,
  15,
  20,
  30,
  40,
  50,
  60,
  120,
  240,
  480,
  960,
  1920,
  7680
]

/** What the sidecar adds to a stream: tens of microseconds when all is well. */
export const streamOverhead = [
  0.000_01,
  0.000_025,
  0.000_05,
  0.000_1,
  0.000_25,
  0.000_5,
  0.001,
  0.002_5,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  1
]

/** What a stream waits: for a worker that is away (30 s at most by default), for a place at the worker (60 s). */
export const waiting = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 120, 300, 600]

/** From a gateway's cancellation to the worker's: promised within 5 ms. */
export const cancelPropagation = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1]

/** prom-client's own for `nodejs_gc_duration_seconds`. */
export const garbageCollection = [0.001, 0.01, 0.1, 1, 2, 5]
