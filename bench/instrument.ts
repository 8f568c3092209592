/**
 * Preloaded (`node --import`) into a proxy that is looked into: on request it watches the event loop or takes a CPU
 * profile. Costs next to nothing until asked.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { createHistogram, monitorEventLoopDelay, PerformanceObserver } from "node:perf_hooks"
import { isMainThread, Worker } from "node:worker_threads"

/** What the bench asks for. */
export type Ask =
  | { readonly ask: "loop-start" }
  | { readonly ask: "loop-stop" }
  | { readonly ask: "profile-start" }
  | { readonly ask: "profile-stop"; readonly file: string }

/** Milliseconds on and beside the event loop while it was watched. */
export interface LoopFigures {
  /** Delays of a timer of a millisecond, beyond that millisecond. */
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
  /** Pauses of the garbage collector: the longest, and all of them in a second. */
  readonly gcMax: number
  readonly gcShare: number
  /** A second's time in which the main thread could have run and another thread had its core. */
  readonly waitShare: number
  /** Handing a group to the journal's thread, and taking its answer with all that follows at once. */
  readonly post999: number
  readonly postMax: number
  readonly postShare: number
}

export type Told = { readonly told: "done" } | { readonly told: "loop"; readonly figures: LoopFigures }

const RESOLUTION_MILLIS = 1

const millis = (nanos: number): number => nanos / 1e6

/** Milliseconds that the main thread has waited for a core; 0 where the kernel does not tell. */
const waited = (): number => {
  try {
    return millis(Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "utf8").split(" ")[1]))
  } catch {
    return 0
  }
}

const install = (): void => {
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MILLIS })
  const session = new Session()
  const tell = (told: Told): void => {
    process.send?.(told)
  }

  let watching = false
  let [startedAt, waitedBefore, gcMax, gcSum, postSum] = [0, 0, 0, 0, 0]
  const posts = createHistogram()
  const collector = new PerformanceObserver((list) => {
    for (const { duration, startTime } of list.getEntries()) {
      if (startTime < startedAt) continue
      gcMax = Math.max(gcMax, duration)
      gcSum += duration
    }
  })
  const timed = <A>(work: () => A): A => {
    if (!watching) return work()
    const at = performance.now()
    try {
      return work()
    } finally {
      const took = performance.now() - at
      postSum += took
      posts.record(Math.max(1, Math.round(took * 1e6)))
    }
  }
  // The only thread of the sidecar is the journal's.
  const { emit, postMessage } = Worker.prototype
  Worker.prototype.postMessage = function(...args: Parameters<typeof postMessage>) {
    timed(() => postMessage.apply(this, args))
  }
  Worker.prototype.emit = function(...args: Parameters<typeof emit>) {
    return args[0] === "message" ? timed(() => emit.apply(this, args)) : emit.apply(this, args)
  }

  const obey = async (ask: Ask): Promise<void> => {
    switch (ask.ask) {
      case "loop-start":
        collector.observe({ entryTypes: ["gc"] })
        posts.reset()
        ;[startedAt, waitedBefore, gcMax, gcSum, postSum] = [performance.now(), waited(), 0, 0, 0]
        watching = true
        loop.enable()
        loop.reset()
        return tell({ told: "done" })
      case "loop-stop": {
        const seconds = (performance.now() - startedAt) / 1000
        const delay = (nanos: number): number => Math.max(0, millis(nanos) - RESOLUTION_MILLIS)
        const figures = {
          p50: delay(loop.percentile(50)),
          p99: delay(loop.percentile(99)),
          p999: delay(loop.percentile(99.9)),
          max: delay(loop.max),
          gcMax,
          gcShare: gcSum / seconds,
          waitShare: (waited() - waitedBefore) / seconds,
          post999: posts.count === 0 ? 0 : millis(posts.percentile(99.9)),
          postMax: posts.count === 0 ? 0 : millis(posts.max),
          postShare: postSum / seconds
        }
        watching = false
        loop.disable()
        collector.disconnect()
        return tell({ told: "loop", figures })
      }
      case "profile-start":
        session.connect()
        await session.post("Profiler.enable")
        await session.post("Profiler.setSamplingInterval", { interval: 200 })
        await session.post("Profiler.start")
        return tell({ told: "done" })
      case "profile-stop": {
        const { profile } = await session.post("Profiler.stop")
        session.disconnect()
        writeFileSync(ask.file, JSON.stringify(profile))
        return tell({ told: "done" })
      }
    }
  }
  process.on("message", (ask: Ask) => void obey(ask))
  process.channel?.unref()
}

if (isMainThread && process.send !== undefined) install()
