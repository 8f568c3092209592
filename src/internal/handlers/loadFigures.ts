/** Where load figures come from. All of it is read when a report is made. */
export interface LoadSource {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** Streams in flight, waiting ones included. */
  readonly inFlight: () => number
  /** Streams that there is room for at once. */
  readonly capacity: () => number
  /** Whether a stream that comes now would be served at once. */
  readonly serving: () => boolean
  /** The sum of a metric over its labels. */
  readonly total: (metric: string) => number
  /** The numbers that the worker says of itself. */
  readonly worker: () => Iterable<readonly [string, number]>
}

/** The load at one moment; rates are a second, over the last ten. */
export interface LoadFigures {
  /** 1: full; more when streams wait, or when none would be served. */
  readonly utilization: number
  readonly streamsPerSecond: number
  readonly errorsPerSecond: number
  readonly named: ReadonlyArray<readonly [string, number]>
  /** The worker's fractions, 0 to 1. */
  readonly fractions: ReadonlyArray<readonly [string, number]>
}

interface Totals {
  readonly at: number
  readonly tokens: number
  readonly ended: number
  readonly failed: number
}

/** Milliseconds over which rates are taken, and between two readings for them. */
const WINDOW = 10_000
const STEP = 1000
/** Figures of the worker in one report: it has to fit into trailers. Those of queues and caches go first. */
const MOST_FIGURES = 16
const URGENT = /cache|lora|wait|queue|running/i
const FRACTION = /(usage|utili[sz]ation)(_perc|_ratio)?$/i

/** Reads the load whenever it is asked for. */
export const loadFigures = (source: LoadSource): () => LoadFigures => {
  const totals = (): Totals => ({
    at: source.now(),
    tokens: source.total("sidecar_tokens_processed_total"),
    ended: source.total("sidecar_requests_success_total") + source.total("sidecar_requests_failed_total") +
      source.total("sidecar_requests_cancelled_total"),
    failed: source.total("sidecar_requests_failed_total")
  })
  const past: Array<Totals> = [totals()]

  const workerFigures = (): ReadonlyArray<readonly [string, number]> => {
    const all = [...source.worker()]
    return [...all.filter(([name]) => URGENT.test(name)), ...all.filter(([name]) => !URGENT.test(name))]
      .slice(0, MOST_FIGURES)
      .map(([name, value]) => [`worker.${name}`, value] as const)
  }

  return () => {
    const now = totals()
    const last = past.at(-1) ?? now
    if (now.at - last.at >= STEP) past.push(now)
    // The oldest one that is left is at least the window away, or the first.
    while (past.length > 2 && now.at - (past[1]?.at ?? now.at) >= WINDOW) past.shift()
    const before = past[0] ?? now
    const seconds = Math.max(STEP, now.at - before.at) / 1000
    const [inFlight, worker] = [source.inFlight(), workerFigures()]
    const used = inFlight / Math.max(1, source.capacity())
    return {
      utilization: source.serving() ? used : Math.max(1, used),
      streamsPerSecond: (now.ended - before.ended) / seconds,
      errorsPerSecond: (now.failed - before.failed) / seconds,
      named: [
        ["in_flight", inFlight],
        ["held", source.total("sidecar_streams_held")],
        ["queued", source.total("sidecar_streams_queued")],
        ["tokens_per_second", (now.tokens - before.tokens) / seconds],
        ...worker
      ],
      fractions: worker.filter(([name, value]) => FRACTION.test(name) && value >= 0 && value <= 1)
    }
  }
}
