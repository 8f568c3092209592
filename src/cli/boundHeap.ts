import { PerformanceObserver } from "node:perf_hooks"
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8"

/** Both halves of V8's young generation. Left to itself it grows to eight times as much, and gives little of it back. Bytes. */
const ENOUGH_BYTES = 8 * 1024 * 1024

/**
 * The old generation may grow by this share of what lives in it, and by 8 MiB at least, before it is collected. Left to itself it
 * grows to several times as much first, and what it leaves behind then stays resident. Percent.
 */
const OLD_GROWTH_PERCENT = 50

/**
 * Keeps the heap small, for next to no time: nearly nothing of a stream outlives a minor collection, so an old generation that
 * grows holds garbage, and a young one beyond {@link ENOUGH_BYTES} is as dear per stream and up to 85 MiB larger with a
 * thousand of them. `node` has options for it, but a program has no say in how it is started; by how much each of the two grows is asked
 * anew each time, and V8 may shrink them when nothing happens.
 */
export const boundHeap = (): void => {
  setFlagsFromString(`--heap-growing-percent=${OLD_GROWTH_PERCENT}`)
  let bounded = false
  const observer = new PerformanceObserver(() => {
    const size = getHeapSpaceStatistics().find((space) => space.space_name === "new_space")?.space_size ?? 0
    const isEnough = size >= ENOUGH_BYTES
    if (isEnough === bounded) return
    bounded = isEnough
    setFlagsFromString(`--semi-space-growth-factor=${isEnough ? 1 : 2}`)
  })
  observer.observe({ entryTypes: ["gc"] })
}
