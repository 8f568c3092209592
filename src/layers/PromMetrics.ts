import { Context, Effect, Layer } from "effect"
import * as Prom from "prom-client"
import * as Histogram from "../internal/metrics/histogram.ts"
import { gauge, type HistogramFamily, type MetricFamily, type ScalarFamily } from "../internal/metrics/metricFamily.ts"
import * as Figures from "../internal/metrics/metricFigures.ts"
import * as NodeFigures from "../internal/metrics/nodeFamilies.ts"
import { version } from "../internal/version.ts"
import { MetricReadings } from "../services/MetricReadings.ts"
import { Metrics } from "../services/Metrics.ts"

/**
 * `Metrics` written in the Prometheus text format by prom-client, on a registry of its own: two sidecars fit into one
 * process. Recording never touches prom-client; its objects are filled when somebody scrapes.
 */
export const layer: Layer.Layer<Metrics | MetricReadings> = Layer.effectContext(Effect.gen(function*() {
  const node = yield* Effect.acquireRelease(
    Effect.sync(NodeFigures.open),
    (figures) => Effect.sync(figures.close)
  )
  const { families, recorder } = Figures.make()
  const registry = new Prom.Registry()
  for (const family of [...families, buildInfo, ...node.families]) register(registry, family)
  const metrics = Metrics.of({
    ...recorder,
    scrape: Effect.map(
      // A collect hook of ours is synchronous arithmetic: a rejection would be a defect.
      Effect.promise(() => registry.metrics()),
      (body) => ({ contentType: registry.contentType, body })
    ),
    figures: Effect.sync(() => Object.fromEntries(families.flatMap(sums)))
  })
  const readings = MetricReadings.of({
    distribution: (name) => {
      const family = families.find((one) => one.name === name)
      return family?.type === "histogram" ? family.series[0]?.histogram.snapshot() : undefined
    },
    series: (name) => {
      const family = families.find((one) => one.name === name)
      return family === undefined || family.type === "histogram" ? [] : family.read()
    }
  })
  return Context.make(Metrics, metrics).pipe(Context.add(MetricReadings, readings))
}))

const buildInfo: MetricFamily = {
  ...gauge("sidecar_build_info", "What runs here; the value is always 1.", () => 1),
  labelNames: ["version", "node", "platform"],
  read: () => [{ labels: { version, node: process.versions.node, platform: process.platform }, value: 1 }]
}

const register = (registry: Prom.Registry, family: MetricFamily): void => {
  switch (family.type) {
    case "counter":
      return registerCounter(registry, family)
    case "gauge":
      return registerGauge(registry, family)
    case "histogram":
      return registry.registerMetric(new FixedHistogram(family))
  }
}

const registerCounter = (registry: Prom.Registry, family: ScalarFamily): void => {
  registry.registerMetric(
    new Prom.Counter({
      name: family.name,
      help: family.help,
      labelNames: [...family.labelNames],
      registers: [],
      collect() {
        this.reset()
        for (const { labels, value } of family.read()) this.inc({ ...labels }, value)
      }
    })
  )
}

const registerGauge = (registry: Prom.Registry, family: ScalarFamily): void => {
  registry.registerMetric(
    new Prom.Gauge({
      name: family.name,
      help: family.help,
      labelNames: [...family.labelNames],
      registers: [],
      collect() {
        this.reset()
        for (const { labels, value } of family.read()) this.set({ ...labels }, value)
      }
    })
  )
}

/** Gives the buckets of our own histograms in prom-client's shape, instead of keeping some itself. */
class FixedHistogram extends Prom.Histogram {
  readonly #family: HistogramFamily

  constructor(family: HistogramFamily) {
    super({ name: family.name, help: family.help, labelNames: [...family.labelNames], registers: [] })
    this.#family = family
  }

  /** What the registry asks for when it writes text, and `get` too. */
  async getForPromString() {
    const { help, name, series } = this.#family
    return { name, help, type: "histogram", aggregator: "sum", values: series.flatMap((one) => this.#values(one)) }
  }

  #values({ histogram, labels = {} }: HistogramFamily["series"][number]) {
    const { name } = this.#family
    const { bounds, counts, sum } = histogram.snapshot()
    const value = (suffix: string, own: Record<string, string | number>, amount: number) => ({
      metricName: `${name}_${suffix}`,
      labels: own,
      sharedLabels: labels,
      value: amount
    })
    let below = 0
    const buckets = counts.map((inBucket, index) => {
      below += inBucket
      return value("bucket", { le: bounds[index] ?? "+Inf" }, below)
    })
    return [...buckets, value("sum", {}, sum), value("count", {}, below)]
  }
}

const sums = (family: MetricFamily): ReadonlyArray<readonly [string, number]> => {
  if (family.type !== "histogram") {
    return [[family.name, family.read().reduce((total, { value }) => total + value, 0)]]
  }
  const all = family.series.map(({ histogram }) => histogram.snapshot())
  return [
    [`${family.name}_count`, all.reduce((total, one) => total + Histogram.count(one), 0)],
    [`${family.name}_sum`, all.reduce((total, one) => total + one.sum, 0)]
  ]
}
