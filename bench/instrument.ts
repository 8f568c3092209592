/**
 * Preloaded (`node --import`) into a proxy that is looked into: on request it watches the delay of the event loop or takes
 * a CPU profile. Costs nothing until asked.
 */
import { writeFileSync } from "node:fs"
import { Session } from "node:inspector/promises"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { isMainThread } from "node:worker_threads"

/** What the bench asks for. */
export type Ask =
  | { readonly ask: "loop-start" }
  | { readonly ask: "loop-stop" }
  | { readonly ask: "profile-start" }
  | { readonly ask: "profile-stop"; readonly file: string }

/** Delays of the event loop in milliseconds, beyond the sampling interval. */
export interface LoopDelays {
  readonly p50: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

export type Told = { readonly told: "done" } | { readonly told: "loop"; readonly delays: LoopDelays }

const RESOLUTION_MILLIS = 1

const install = (): void => {
  const loop = monitorEventLoopDelay({ resolution: RESOLUTION_MILLIS })
  const session = new Session()
  const tell = (told: Told): void => {
    process.send?.(told)
  }
  const obey = async (ask: Ask): Promise<void> => {
    switch (ask.ask) {
      case "loop-start":
        loop.enable()
        loop.reset()
        return tell({ told: "done" })
      case "loop-stop": {
        const millis = (nanos: number): number => Math.max(0, nanos / 1e6 - RESOLUTION_MILLIS)
        const delays = {
          p50: millis(loop.percentile(50)),
          p99: millis(loop.percentile(99)),
          p999: millis(loop.percentile(99.9)),
          max: millis(loop.max)
        }
        loop.disable()
        return tell({ told: "loop", delays })
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
