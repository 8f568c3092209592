import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const module = fileURLToPath(new URL("../../src/cli/engine.ts", import.meta.url))

/** What V8 says of a function that is called often: whether it was optimized at rest, and once the engine was woken. */
const optimized = (...options: ReadonlyArray<string>): { readonly atRest: boolean; readonly awake: boolean } => {
  const program = `
    import { restEngine } from ${JSON.stringify(module)}
    import { setTimeout as sleep } from "node:timers/promises"
    const engine = restEngine()
    const add = new Function("one", "two", "return one + two")
    const status = new Function("f", "return %GetOptimizationStatus(f)")
    const KINDS = { maglev: 1 << 5, turbofan: 1 << 6 }
    const isOptimized = () => (status(add) & (KINDS.maglev | KINDS.turbofan)) !== 0
    const call = async () => {
      let sum = 0
      for (let turn = 0; turn < 20 && !isOptimized(); turn++) {
        for (let n = 0; n < 100_000; n++) sum = add(sum, n) | 0
        // The compiler has a thread of its own.
        await sleep(5)
      }
      return isOptimized()
    }
    const atRest = await call()
    engine.wake()
    console.log(JSON.stringify({ atRest, awake: await call() }))`
  const { NODE_OPTIONS: _, ...env } = process.env
  const node = ["--allow-natives-syntax", ...options, "--input-type=module", "--eval", program]
  return JSON.parse(execFileSync(process.execPath, node, { encoding: "utf8", env }))
}

/** MiB of the heap in use, before and after it was collected. */
const collected = (): { readonly before: number; readonly after: number } => {
  const program = `
    import { restEngine } from ${JSON.stringify(module)}
    const engine = restEngine()
    let garbage = []
    for (let n = 0; n < 200_000; n++) garbage.push({ n, twice: [n, n] })
    const before = process.memoryUsage().heapUsed / 2 ** 20
    garbage = undefined
    engine.collect()
    console.log(JSON.stringify({ before, after: process.memoryUsage().heapUsed / 2 ** 20 }))`
  const { NODE_OPTIONS: _, ...env } = process.env
  return JSON.parse(
    execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8", env })
  )
}

describe("the engine of a daemon", () => {
  it("compiles nothing with care while it rests, and what is called often when it is awake", () => {
    expect(optimized()).toEqual({ atRest: false, awake: true })
  })

  it("is left to whoever starts Node with an option about it", () => {
    expect(optimized("--max-semi-space-size=16")).toEqual({ atRest: true, awake: true })
    expect(optimized("--no-opt", "--no-maglev")).toEqual({ atRest: false, awake: false })
  })

  it("collects what nobody holds any more", () => {
    const { after, before } = collected()
    expect(before - after).toBeGreaterThan(10)
  })
})
