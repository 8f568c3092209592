import { Clock, Context, Effect, Layer } from "effect"
import * as Figures from "../internal/metrics/figures/allFigures.ts"
import * as Histogram from "../internal/metrics/histogram.ts"
import type { ExpositionFormat, MetricFamily } from "../internal/metrics/metricFamily.ts"
import * as NodeFigures from "../internal/metrics/nodeFamilies.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { CallMetrics } from "../services/CallMetrics.ts"
import { GatewayMetrics } from "../services/GatewayMetrics.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { MetricReadings, type Reading } from "../services/MetricReadings.ts"
import { type Exposition, Metrics, type Recorders } from "../services/Metrics.ts"
import { StreamMetrics } from "../services/StreamMetrics.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"
import { WorkerMetrics } from "../services/WorkerMetrics.ts"

/** A reader waits no longer than this for figures that come from elsewhere (a disk that hangs). */
const freshnessLimit = "100 millis"

/**
 * Figures written in the Prometheus text format and in OpenMetrics by prom-client, on registries of its own:
 * two sidecars fit into one process. Recording never touches prom-client: it is loaded, and its objects are filled, when somebody scrapes.
 */
export const layer: Layer.Layer<Metrics | MetricReadings | Recorders> = Layer.effectContext(Effect.gen(function*() {
  const node = yield* Effect.acquireRelease(
    Effect.sync(NodeFigures.open),
    (figures) => Effect.sync(figures.close)
  )
  const clock = yield* Clock.Clock
  const { families, ...figures } = Figures.make(monotonicMillis(clock), () => clock.currentTimeMillisUnsafe())
  const all = [...families, Figures.buildInfo, ...node.families]
  const refreshers = new Set<Effect.Effect<void>>()
  const refreshed = Effect.suspend(() => Effect.forEach(refreshers, (refresh) => refresh, { discard: true })).pipe(
    Effect.timeoutOption(freshnessLimit),
    Effect.asVoid
  )
  const metrics = Metrics.of({
    beforeReading: (refresh) =>
      Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => refreshers.add(refresh)),
        () => Effect.sync(() => refreshers.delete(refresh))
      )),
    scrape: yield* exposition(all, "text", refreshed),
    openMetrics: yield* exposition(all, "openmetrics", refreshed),
    figures: Effect.andThen(refreshed, Effect.sync(() => Object.fromEntries(families.flatMap(sums))))
  })
  const readings = MetricReadings.of({
    distribution: (name) => {
      const family = families.find((one) => one.name === name)
      return family?.type === "histogram" ? family.series[0]?.histogram.snapshot() : undefined
    },
    series: (name) => {
      const family = all.find((one) => one.name === name)
      return family === undefined || family.type === "histogram" ? [] : family.read()
    }
  })
  return Context.make(Metrics, metrics).pipe(
    Context.add(MetricReadings, readings),
    Context.add(StreamMetrics, figures.streams),
    Context.add(CallMetrics, figures.calls),
    Context.add(WorkerMetrics, figures.worker),
    Context.add(UsageMetrics, figures.usage),
    Context.add(GatewayMetrics, figures.gateways),
    Context.add(LimitMetrics, figures.limits)
  )
}))

/** prom-client comes with the first scrape, and each format with the first who asks for it. */
const exposition = (
  families: ReadonlyArray<MetricFamily>,
  format: ExpositionFormat,
  refreshed: Effect.Effect<void>
): Effect.Effect<Effect.Effect<Exposition>> =>
  Effect.map(
    Effect.cached(Effect.uninterruptible(Effect.promise(async () => {
      const { registryOf } = await import("../internal/metrics/promRegistry.ts")
      return registryOf(families, format)
    }))),
    (registry) =>
      Effect.flatMap(Effect.andThen(refreshed, registry), (all) =>
        Effect.map(
          // A collect hook of ours is synchronous arithmetic: a rejection would be a defect.
          Effect.promise(() => all.metrics()),
          (body) => ({ contentType: all.contentType, body })
        ))
  )

const labelled = (name: string, labels: Reading["labels"] = {}): string => {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(String(value))}`)
  return pairs.length === 0 ? name : `${name}{${pairs.join(",")}}`
}

/** What counts events by label is summed; the series of a gauge are places, whose sum says nothing. */
const sums = (family: MetricFamily): ReadonlyArray<readonly [string, number]> => {
  if (family.type === "gauge") return family.read().map(({ labels, value }) => [labelled(family.name, labels), value])
  if (family.type !== "histogram") {
    return [[family.name, family.read().reduce((total, { value }) => total + value, 0)]]
  }
  const all = family.series.map(({ histogram }) => histogram.snapshot())
  return [
    [`${family.name}_count`, all.reduce((total, one) => total + Histogram.count(one), 0)],
    [`${family.name}_sum`, all.reduce((total, one) => total + one.sum, 0)]
  ]
}
