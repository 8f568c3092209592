import * as Prom from "prom-client"
import type { Exemplar } from "./histogram.ts"
import type { ExpositionFormat, HistogramFamily, MetricFamily, ScalarFamily } from "./metricFamily.ts"

type Registry = Prom.Registry<Prom.RegistryContentType>

/** A registry of prom-client's that reads the families whenever it is read itself. */
export const registryOf = (families: ReadonlyArray<MetricFamily>, format: ExpositionFormat): Registry => {
  const registry = new Prom.Registry<Prom.RegistryContentType>()
  registry.setContentType(
    format === "text" ? Prom.Registry.PROMETHEUS_CONTENT_TYPE : Prom.Registry.OPENMETRICS_CONTENT_TYPE
  )
  for (const family of families) register(registry, family, format)
  return registry
}

const register = (registry: Registry, family: MetricFamily, format: ExpositionFormat): void => {
  switch (family.type) {
    case "counter":
      return registerCounter(registry, family)
    case "gauge":
      return registerGauge(registry, family)
    case "histogram":
      return registry.registerMetric(new FixedHistogram(family, format))
  }
}

/** Kept out of prom-client's global registry. */
const described = ({ help, labelNames, name }: MetricFamily) => ({
  name,
  help,
  labelNames: [...labelNames],
  registers: []
})

const registerCounter = (registry: Registry, family: ScalarFamily): void => {
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

const registerGauge = (registry: Registry, family: ScalarFamily): void => {
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

/** A bound as OpenMetrics has it in `le` ("Canonical Numbers"): a whole number has a point, a very small one an exponent. */
const canonical = (bound: number | undefined): string => {
  if (bound === undefined) return "+Inf"
  if (Number.isInteger(bound)) return `${bound}.0`
  return bound < 1e-4 ? bound.toExponential().replace(/-(\d)$/, "-0$1") : String(bound)
}

/** Gives the buckets of our own histograms in prom-client's shape, instead of keeping some itself. */
class FixedHistogram extends Prom.Histogram {
  readonly #family: HistogramFamily
  readonly #bound: (bound: number | undefined) => string | number

  constructor(family: HistogramFamily, format: ExpositionFormat) {
    super(described(family))
    this.#family = family
    this.#bound = format === "text" ? (bound) => bound ?? "+Inf" : canonical
  }

  /** What the registry asks for when it writes text, and `get` too. */
  async getForPromString() {
    const { help, name, series } = this.#family
    return { name, help, type: "histogram", aggregator: "sum", values: series.flatMap((one) => this.#values(one)) }
  }

  #values({ histogram, labels = {} }: HistogramFamily["series"][number]) {
    const { name } = this.#family
    const { bounds, counts, sum } = histogram.snapshot()
    const exemplars = histogram.exemplars()
    const value = (suffix: string, own: Record<string, string | number>, amount: number, exemplar?: Exemplar) => ({
      metricName: `${name}_${suffix}`,
      labels: own,
      sharedLabels: labels,
      value: amount,
      // Written by a registry of OpenMetrics, passed over by the other.
      exemplar: exemplar && {
        labelSet: { trace_id: exemplar.traceId },
        value: exemplar.value,
        timestamp: exemplar.at / 1000
      }
    })
    let below = 0
    const buckets = counts.map((inBucket, index) => {
      below += inBucket
      return value("bucket", { le: this.#bound(bounds[index]) }, below, exemplars[index])
    })
    return [...buckets, value("sum", {}, sum), value("count", {}, below)]
  }
}
