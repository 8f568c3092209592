import * as Prom from "prom-client"
import type { HistogramFamily, MetricFamily, ScalarFamily } from "./metricFamily.ts"

/** A registry of prom-client's that reads the families whenever it is read itself. */
export const registryOf = (families: ReadonlyArray<MetricFamily>): Prom.Registry => {
  const registry = new Prom.Registry()
  for (const family of families) register(registry, family)
  return registry
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

/** Kept out of prom-client's global registry. */
const described = ({ help, labelNames, name }: MetricFamily) => ({
  name,
  help,
  labelNames: [...labelNames],
  registers: []
})

const registerCounter = (registry: Prom.Registry, family: ScalarFamily): void => {
  registry.registerMetric(
    new Prom.Counter({
      ...described(family),
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
      ...described(family),
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
    super(described(family))
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
