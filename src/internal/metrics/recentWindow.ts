import type { Distribution } from "../../services/MetricReadings.ts"
import * as Histogram from "./histogram.ts"

/** The running totals at one moment. */
export interface Totals {
  /** Monotonic milliseconds. */
  readonly at: number
  readonly tokens: number
  readonly success: number
  readonly failed: number
  readonly cancelled: number
  /** CPU time of the process in seconds. */
  readonly cpu: number
  /** Histograms by the name under which {@link Recent} reports them. */
  readonly distributions: Readonly<Record<string, Distribution | undefined>>
}

/** Quantiles in seconds; `null` when nothing was observed. */
export interface Quantiles {
  readonly count: number
  readonly mean: number | null
  readonly p50: number | null
  readonly p95: number | null
  readonly p99: number | null
}

/** What happened in the window. */
export interface Recent {
  /** Its length: less than the full one after the start. */
  readonly seconds: number
  /** Over the last two steps, about ten seconds. */
  readonly tokensPerSecond: number
  /** CPU seconds a second, over the last two steps: 1 is one core. */
  readonly cpuRatio: number
  /** Tokens a second in each step of the window, oldest first. */
  readonly history: ReadonlyArray<number>
  readonly success: number
  readonly failed: number
  readonly cancelled: number
  /** Streams that completed among those that were not cancelled, 0 to 1; `null` without any. */
  readonly successRatio: number | null
  readonly quantiles: Readonly<Record<string, Quantiles>>
}

const rate = (amount: number, millis: number): number => millis > 0 ? Math.max(0, amount) / (millis / 1000) : 0

const quantilesOf = (distribution: Distribution): Quantiles => {
  const count = Histogram.count(distribution)
  const at = (q: number) => Histogram.quantile(distribution, q) ?? null
  return { count, mean: count === 0 ? null : distribution.sum / count, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
}

/**
 * The last `steps` readings of the totals, and what they say about the time between. Someone must `push` at a steady
 * pace.
 */
export const make = (steps: number) => {
  const readings: Array<Totals> = []
  return {
    push: (reading: Totals): void => {
      readings.push(reading)
      if (readings.length > steps + 1) readings.shift()
    },
    /** The window that ends `now`. */
    recent: (now: Totals): Recent => {
      const first = readings[0] ?? now
      // Two whole steps back, so that a rate never rests on the sliver since the last push.
      const shortly = readings.at(-2) ?? first
      const success = now.success - first.success
      const failed = now.failed - first.failed
      return {
        seconds: Math.max(0, now.at - first.at) / 1000,
        tokensPerSecond: rate(now.tokens - shortly.tokens, now.at - shortly.at),
        cpuRatio: rate(now.cpu - shortly.cpu, now.at - shortly.at),
        history: readings.slice(1).map((reading, index) => {
          const before = readings[index] ?? reading
          return rate(reading.tokens - before.tokens, reading.at - before.at)
        }),
        success,
        failed,
        cancelled: now.cancelled - first.cancelled,
        successRatio: success + failed === 0 ? null : success / (success + failed),
        quantiles: Object.fromEntries(
          Object.entries(now.distributions).flatMap(([name, distribution]) =>
            distribution === undefined
              ? []
              : [[name, quantilesOf(Histogram.since(distribution, first.distributions[name]))]]
          )
        )
      }
    }
  }
}
