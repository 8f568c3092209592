import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const module = fileURLToPath(new URL("../../src/cli/boundHeap.ts", import.meta.url))

/** The largest size of a space in a process of which so many objects outlive a minor collection for a while. MiB. */
const largest = (bounded: boolean, space: "new_space" | "old_space", objects: number): number => {
  const program = `
    import { boundHeap } from ${JSON.stringify(module)}
    import { getHeapSpaceStatistics } from "node:v8"
    if (${bounded}) boundHeap()
    const kept = []
    let most = 0
    let turns = 0
    const turn = () => {
      for (let n = 0; n < 2000; n++) kept[(turns * 2000 + n) % ${objects}] = { n, twice: [n, n] }
      const { space_size } = getHeapSpaceStatistics().find((space) => space.space_name === "${space}")
      most = Math.max(most, space_size)
      if (++turns < 1500) setImmediate(turn)
      else console.log(most / 2 ** 20)
    }
    turn()`
  return Number(execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" }))
}

describe("the heap of the daemon", () => {
  it("has a young generation of one step beyond 16 MiB at most, where it would go on", () => {
    expect(largest(false, "new_space", 1_000_000)).toBeGreaterThan(34)
    expect(largest(true, "new_space", 1_000_000)).toBeLessThan(34)
  })

  it("has an old generation that is collected sooner than it would be", () => {
    const unbounded = largest(false, "old_space", 200_000)
    expect(largest(true, "old_space", 200_000)).toBeLessThan(0.8 * unbounded)
  })
})
