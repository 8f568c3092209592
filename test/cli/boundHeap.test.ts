import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const module = fileURLToPath(new URL("../../src/cli/boundHeap.ts", import.meta.url))

interface Heap {
  /** What the young generation takes most of the time. MiB. */
  readonly young: number
  /** How often the old one was collected. */
  readonly collections: number
}

/** The heap of a process in which 400,000 objects live for a while. V8's limits are given: its own follow the machine's memory. */
const heap = (bounded: boolean): Heap => {
  const program = `
    import { boundHeap } from ${JSON.stringify(module)}
    import { PerformanceObserver, constants } from "node:perf_hooks"
    import { getHeapSpaceStatistics } from "node:v8"
    if (${bounded}) boundHeap()
    let collections = 0
    new PerformanceObserver((list) => {
      for (const { detail } of list.getEntries()) if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++
    }).observe({ entryTypes: ["gc"] })
    const kept = []
    const sizes = []
    const turn = () => {
      for (let n = 0; n < 2000; n++) kept[(sizes.length * 2000 + n) % 400_000] = { n, twice: [n, n] }
      sizes.push(getHeapSpaceStatistics().find((space) => space.space_name === "new_space").space_size)
      if (sizes.length < 3000) setImmediate(turn)
      else console.log(JSON.stringify({ young: sizes.sort((one, other) => one - other)[1500] / 2 ** 20, collections }))
    }
    turn()`
  const limits = ["--max-old-space-size=4096", "--max-semi-space-size=32"]
  const { NODE_OPTIONS: _, ...env } = process.env
  return JSON.parse(
    execFileSync(process.execPath, [...limits, "--input-type=module", "--eval", program], { encoding: "utf8", env })
  )
}

describe("the heap of the daemon", () => {
  it("has a young generation that stops to grow, and an old one that is collected sooner, than V8 would have them", () => {
    const unbounded = heap(false)
    const bounded = heap(true)
    expect(bounded.young).toBeLessThan(0.75 * unbounded.young)
    expect(bounded.collections).toBeGreaterThan(2 * unbounded.collections)
  })
})
