import type { MetricFamily } from "../metricFamily.ts"

/**
 * What one part of the sidecar moves: plain fields behind a recorder, and the families that read them at a scrape. Every
 * method that a token or a stream calls is arithmetic on these fields.
 */
export interface Figures<Recorder> {
  readonly recorder: Recorder
  readonly families: ReadonlyArray<MetricFamily>
}
