import type { Distribution } from "../../services/MetricReadings.ts"

/** The last observation of a bucket that belongs to a trace. */
export interface Exemplar {
  readonly traceId: string
  readonly value: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

/** A histogram with fixed buckets. */
export interface Histogram {
  /**
   * Adds one observation: no allocation. A value that is not a number is ignored, a negative one counts as 0. `traceId`: the
   * trace it belongs to, kept where the histogram has exemplars; empty: none.
   */
  readonly observe: (value: number, traceId?: string) => void
  readonly snapshot: () => Distribution
  /** Per bucket. */
  readonly exemplars: () => ReadonlyArray<Exemplar | undefined>
}

/** What OpenMetrics can carry (128 characters, names and values together), and what somebody can look for. */
const TRACE_ID = /^[!-~]{1,100}$/

/**
 * A histogram whose buckets hold values up to and including their bound (Prometheus `le`).
 *
 * @param wallNow milliseconds since the epoch; with it the histogram keeps exemplars
 */
export const make = (bounds: ReadonlyArray<number>, wallNow?: () => number): Histogram => {
  const limits = Float64Array.from(bounds)
  const counts = new Float64Array(limits.length + 1)
  const traces = { ids: Array<string>(counts.length).fill(""), values: counts.slice(), times: counts.slice() }
  let sum = 0
  return {
    observe: (value, traceId = "") => {
      if (Number.isNaN(value)) return
      const amount = value > 0 ? value : 0
      let bucket = 0
      // The observations of one figure gather at its small bounds, where a linear scan beats a binary search.
      while (bucket < limits.length && amount > (limits[bucket] ?? Infinity)) bucket++
      counts[bucket] = (counts[bucket] ?? 0) + 1
      sum += amount
      if (traceId === "" || wallNow === undefined) return
      traces.ids[bucket] = traceId
      traces.values[bucket] = amount
      traces.times[bucket] = wallNow()
    },
    snapshot: () => ({ bounds, counts: Array.from(counts), sum }),
    exemplars: () =>
      traces.ids.map((traceId, bucket) =>
        TRACE_ID.test(traceId)
          ? { traceId, value: traces.values[bucket] ?? 0, at: traces.times[bucket] ?? 0 }
          : undefined
      )
  }
}

/** The number of observations. */
export const count = (distribution: Distribution): number =>
  distribution.counts.reduce((total, inBucket) => total + inBucket, 0)

/** What was observed between two snapshots of one histogram. */
export const since = (now: Distribution, before: Distribution | undefined): Distribution =>
  before === undefined ? now : {
    bounds: now.bounds,
    counts: now.counts.map((inBucket, index) => inBucket - (before.counts[index] ?? 0)),
    sum: now.sum - before.sum
  }

/**
 * The estimated `q`-quantile (0 to 1), linear within a bucket as in PromQL's `histogram_quantile`; the last bound when
 * it lies beyond; `undefined` without observations.
 */
export const quantile = (distribution: Distribution, q: number): number | undefined => {
  const { bounds, counts } = distribution
  const total = count(distribution)
  if (total === 0) return undefined
  const rank = q * total
  let below = 0
  for (let bucket = 0; bucket < bounds.length; bucket++) {
    const inBucket = counts[bucket] ?? 0
    const upper = bounds[bucket] ?? 0
    if (inBucket > 0 && below + inBucket >= rank) {
      const lower = bucket === 0 ? 0 : bounds[bucket - 1] ?? 0
      return lower + (upper - lower) * ((rank - below) / inBucket)
    }
    below += inBucket
  }
  return bounds.at(-1)
}
