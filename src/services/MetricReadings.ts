import { Context } from "effect"

/** The observations of one histogram since the start. */
export interface Distribution {
  /** Upper bounds of the buckets, rising; a last bucket without a bound follows. */
  readonly bounds: ReadonlyArray<number>
  /** Observations per bucket (not cumulative); one more than `bounds`. */
  readonly counts: ReadonlyArray<number>
  readonly sum: number
}

/** One series of a counter or a gauge. */
export interface Reading {
  readonly labels?: Readonly<Record<string, string | number>> | undefined
  readonly value: number
}

/**
 * What stands behind `Metrics.figures` in full, by metric name, for whoever looks at more than sums: the status page.
 * Optional beside `Metrics`: without it the page shows no quantiles and no detail by label.
 */
export class MetricReadings extends Context.Service<MetricReadings, {
  /** The histogram of that name; keep two readings and subtract for the quantiles of a window. */
  readonly distribution: (name: string) => Distribution | undefined
  /** The series of the counter or gauge of that name. */
  readonly series: (name: string) => ReadonlyArray<Reading>
}>()("cy-llm-sidecar/MetricReadings") {}
