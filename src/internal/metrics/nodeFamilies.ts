import { readdirSync, readFileSync } from "node:fs"
import { constants, createHistogram, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks"
import * as v8 from "node:v8"
import * as Histogram from "./histogram.ts"
import { garbageCollection } from "./metricBounds.ts"
import { byLabel, counter, gauge, type MetricFamily } from "./metricFamily.ts"

/**
 * Node's own figures under the names that prom-client gives them. prom-client's collector is not used because it cannot
 * be stopped: its event loop monitor and its GC observer outlive every registry. And what it takes for lag is the time between
 * two ticks of a timer of 10 ms, which a loop without any lag has, too, and which wakes an idle process a hundred times a second.
 */
export interface NodeFigures {
  readonly families: ReadonlyArray<MetricFamily>
  /** Stops the look at the event loop, and the GC observer. */
  readonly close: () => void
}

const gcKinds: ReadonlyArray<readonly [number, string]> = [
  [constants.NODE_PERFORMANCE_GC_MAJOR, "major"],
  [constants.NODE_PERFORMANCE_GC_MINOR, "minor"],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, "incremental"],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, "weakcb"]
]

/** `/proc` is no disk: reading it does not block. Other systems have none, and then those series stay away. */
const proc = (file: string): string | undefined => {
  try {
    return readFileSync(`/proc/self/${file}`, "utf8")
  } catch {
    return undefined
  }
}

const openFiles = (): number => {
  try {
    return readdirSync("/proc/self/fd").length - 1
  } catch {
    return 0
  }
}

const bytes = (field: string): number => {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(proc("status") ?? "")?.[1]
  return found === undefined ? 0 : Number(found) * 1024
}

const processFamilies = (): ReadonlyArray<MetricFamily> => {
  const startedAt = Math.round(Date.now() / 1000 - process.uptime())
  const maxFiles = Number(/^Max open files\s+(\d+)/m.exec(proc("limits") ?? "")?.[1] ?? 0)
  const fromProc = [
    gauge("process_virtual_memory_bytes", "Virtual memory in bytes.", () => bytes("VmSize")),
    gauge("process_heap_bytes", "Data segment of the process in bytes.", () => bytes("VmData")),
    gauge("process_open_fds", "Open file descriptors.", openFiles),
    gauge("process_max_fds", "File descriptors that may be open.", () => maxFiles)
  ]
  return [
    counter("process_cpu_user_seconds_total", "User CPU time in seconds.", () => process.cpuUsage().user / 1e6),
    counter("process_cpu_system_seconds_total", "System CPU time in seconds.", () => process.cpuUsage().system / 1e6),
    counter("process_cpu_seconds_total", "User and system CPU time in seconds.", () => {
      const { system, user } = process.cpuUsage()
      return (system + user) / 1e6
    }),
    gauge("process_start_time_seconds", "Start of the process, seconds since the epoch.", () => startedAt),
    gauge("process_resident_memory_bytes", "Resident memory in bytes.", () => process.memoryUsage.rss()),
    ...(proc("status") === undefined ? [] : fromProc)
  ]
}

const heapFamilies = (): ReadonlyArray<MetricFamily> => {
  const spaces = (field: "space_size" | "space_used_size" | "space_available_size") => () =>
    v8.getHeapSpaceStatistics().map((space) => [space.space_name.replace(/_space$/, ""), space[field]] as const)
  const space = (word: string, field: "space_size" | "space_used_size" | "space_available_size") =>
    byLabel("gauge", `nodejs_heap_space_size_${word}_bytes`, `Heap space ${word}, in bytes.`, "space", spaces(field))
  return [
    gauge("nodejs_heap_size_total_bytes", "Heap size in bytes.", () => process.memoryUsage().heapTotal),
    gauge("nodejs_heap_size_used_bytes", "Heap in use in bytes.", () => process.memoryUsage().heapUsed),
    gauge("nodejs_external_memory_bytes", "Memory outside the heap in bytes.", () => process.memoryUsage().external),
    space("total", "space_size"),
    space("used", "space_used_size"),
    space("available", "space_available_size")
  ]
}

const resourceFamilies = (): ReadonlyArray<MetricFamily> => {
  const byType = (): ReadonlyMap<string, number> => {
    const counts = new Map<string, number>()
    for (const type of process.getActiveResourcesInfo()) counts.set(type, (counts.get(type) ?? 0) + 1)
    return counts
  }
  const [major = "", minor = "", patch = ""] = process.versions.node.split(".")
  return [
    byLabel("gauge", "nodejs_active_resources", "What keeps the event loop alive, by type.", "type", byType),
    gauge(
      "nodejs_active_resources_total",
      "What keeps the event loop alive.",
      () => process.getActiveResourcesInfo().length
    ),
    {
      type: "gauge",
      name: "nodejs_version_info",
      help: "The version of Node.js.",
      labelNames: ["version", "major", "minor", "patch"],
      read: () => [{ labels: { version: process.version, major, minor, patch }, value: 1 }]
    }
  ]
}

/** Time between two looks at the event loop's lag: a random one, so that no work that comes regularly is always met, or never. */
const LEAST_MILLIS = 50
const MOST_MILLIS = 150
/** No lag is longer. */
const HOUR_NANOS = 3_600_000_000_000

/**
 * How late the event loop is for what comes at some moment: for a timer as for a token. A share of the looks finds it late
 * that is the share of tokens which do. By the machine's timers, whatever clock the program was given.
 */
const lagMonitor = () => {
  const histogram = createHistogram({ highest: HOUR_NANOS })
  let timer: NodeJS.Timeout | undefined
  const next = (): void => {
    const millis = Math.ceil(LEAST_MILLIS + Math.random() * (MOST_MILLIS - LEAST_MILLIS))
    const due = performance.now() + millis
    timer = setTimeout(() => {
      histogram.record(Math.max(1, Math.round((performance.now() - due) * 1e6)))
      next()
    }, millis).unref()
  }
  next()
  return { histogram, close: () => clearTimeout(timer) }
}

const lagFamilies = (): NodeFigures => {
  const { close, histogram } = lagMonitor()
  let lag = 0
  const seconds = (nanoseconds: number) => Number.isFinite(nanoseconds) ? nanoseconds / 1e9 : 0
  const figure = (word: string, help: string, value: () => number) =>
    gauge(`nodejs_eventloop_lag_${word}seconds`, help, value)
  return {
    close,
    families: [
      figure("", "Lag of the event loop in seconds, seen at the scrape before.", () => {
        const asked = process.hrtime.bigint()
        setImmediate(() => {
          lag = Number(process.hrtime.bigint() - asked) / 1e9
        })
        return lag
      }),
      // While nothing was measured yet, the histogram's minimum is its largest number.
      figure("min_", "Least lag since the last scrape.", () => histogram.count === 0 ? 0 : seconds(histogram.min)),
      figure("max_", "Greatest lag since the last scrape, of some ten looks a second.", () => seconds(histogram.max)),
      figure("mean_", "Mean lag since the last scrape.", () => seconds(histogram.mean)),
      figure("stddev_", "Standard deviation of the lag since the last scrape.", () => seconds(histogram.stddev)),
      figure("p50_", "Median lag since the last scrape.", () => seconds(histogram.percentile(50))),
      figure("p90_", "90th percentile of the lag since the last scrape.", () => seconds(histogram.percentile(90))),
      figure("p99_", "99th percentile of the lag since the last scrape.", () => {
        const value = seconds(histogram.percentile(99))
        histogram.reset()
        return value
      })
    ]
  }
}

const gcFamilies = (): NodeFigures => {
  const series = gcKinds.map(([kind, word]) => ({
    kind,
    labels: { kind: word },
    histogram: Histogram.make(garbageCollection)
  }))
  const kindOf = (entry: PerformanceEntry): unknown =>
    "detail" in entry && typeof entry.detail === "object" && entry.detail !== null && "kind" in entry.detail
      ? entry.detail.kind
      : undefined
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const kind = kindOf(entry)
      series.find((one) => one.kind === kind)?.histogram.observe(entry.duration / 1000)
    }
  })
  observer.observe({ entryTypes: ["gc"] })
  return {
    close: () => observer.disconnect(),
    families: [{
      type: "histogram",
      name: "nodejs_gc_duration_seconds",
      help: "Seconds of garbage collection by kind.",
      labelNames: ["kind"],
      series
    }]
  }
}

/** Starts to watch this process. The caller must close it. */
export const open = (): NodeFigures => {
  const lag = lagFamilies()
  const gc = gcFamilies()
  return {
    families: [...processFamilies(), ...lag.families, ...heapFamilies(), ...resourceFamilies(), ...gc.families],
    close: () => {
      lag.close()
      gc.close()
    }
  }
}
