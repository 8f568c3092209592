import type { Reading } from "../../services/MetricReadings.ts"
import type { Histogram } from "./histogram.ts"

/** What a scraper may ask for: Prometheus text format 0.0.4, or OpenMetrics 1.0. */
export type ExpositionFormat = "text" | "openmetrics"

/** A counter or a gauge, read when somebody scrapes. */
export interface ScalarFamily {
  readonly type: "counter" | "gauge"
  readonly name: string
  readonly help: string
  readonly labelNames: ReadonlyArray<string>
  readonly read: () => ReadonlyArray<Reading>
}

/** A histogram: one series, or one for each set of labels. */
export interface HistogramFamily {
  readonly type: "histogram"
  readonly name: string
  readonly help: string
  readonly labelNames: ReadonlyArray<string>
  readonly series: ReadonlyArray<{
    readonly labels?: Readonly<Record<string, string | number>> | undefined
    readonly histogram: Histogram
  }>
}

/** A metric by its name, with everything an exposition needs; knows nothing of the library that writes it. */
export type MetricFamily = ScalarFamily | HistogramFamily

/** A counter without labels. */
export const counter = (name: string, help: string, value: () => number): ScalarFamily => ({
  type: "counter",
  name,
  help,
  labelNames: [],
  read: () => [{ value: value() }]
})

/** A gauge without labels. */
export const gauge = (name: string, help: string, value: () => number): ScalarFamily => ({
  type: "gauge",
  name,
  help,
  labelNames: [],
  read: () => [{ value: value() }]
})

/** A counter or gauge with one label, read from a map from label value to value. */
export const byLabel = (
  type: "counter" | "gauge",
  name: string,
  help: string,
  label: string,
  values: () => Iterable<readonly [string, number]>
): ScalarFamily => ({
  type,
  name,
  help,
  labelNames: [label],
  read: () => Array.from(values(), ([key, value]) => ({ labels: { [label]: key }, value }))
})

/** A histogram without labels. */
export const histogram = (name: string, help: string, source: Histogram): HistogramFamily => ({
  type: "histogram",
  name,
  help,
  labelNames: [],
  series: [{ histogram: source }]
})
