/**
 * Preloaded (`node --import`) into a daemon that is attacked, by `npm run attacks -- --turns`: how long single turns of
 * its event loop take, on a core of its own (many kernels tell processor time in steps of 4 ms, too coarse for this). The
 * loop never rests meanwhile. Appends a line to `TURNS_FILE` each tenth of a second: its end
 * in epoch milliseconds, the longest turn in it, and the longest pause of the collector, in milliseconds.
 */
import { appendFileSync } from "node:fs"
import { PerformanceObserver } from "node:perf_hooks"
import { isMainThread } from "node:worker_threads"

const EVERY_MILLIS = 100

const watch = (file: string): void => {
  let [longest, collected] = [0, 0]
  let before = performance.now()
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntries()) collected = Math.max(collected, duration)
  }).observe({ entryTypes: ["gc"] })
  const turn = (): void => {
    const now = performance.now()
    longest = Math.max(longest, now - before)
    before = now
    setImmediate(turn)
  }
  turn()
  setInterval(() => {
    appendFileSync(file, `${Date.now()} ${longest.toFixed(2)} ${collected.toFixed(2)}\n`)
    longest = 0
    collected = 0
    // What this costs is nobody's turn.
    before = performance.now()
  }, EVERY_MILLIS).unref()
}

const file = process.env["TURNS_FILE"]
if (isMainThread && file !== undefined) watch(file)
