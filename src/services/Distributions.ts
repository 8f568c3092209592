import { Context } from "effect"

/** The observations of one histogram since the start. */
export interface Distribution {
  /** Upper bounds of the buckets, rising; a last bucket without a bound follows. */
  readonly bounds: ReadonlyArray<number>
  /** Observations per bucket (not cumulative); one more than `bounds`. */
  readonly counts: ReadonlyArray<number>
  readonly sum: number
}

/**
 * The histograms behind `Metrics`, by metric name, for whoever wants quantiles of a recent window: it keeps two
 * readings and subtracts. Optional: without it the status page shows no quantiles.
 */
export class Distributions extends Context.Service<Distributions, {
  readonly read: () => Readonly<Record<string, Distribution>>
}>()("cy-llm-sidecar/Distributions") {}
