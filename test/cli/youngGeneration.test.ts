import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const module = fileURLToPath(new URL("../../src/cli/youngGeneration.ts", import.meta.url))

/** The largest young generation of a process much of whose objects outlive a minor collection. MiB. */
const largest = (bounded: boolean): number => {
  const program = `
    import { boundYoungGeneration } from ${JSON.stringify(module)}
    import { getHeapSpaceStatistics } from "node:v8"
    if (${bounded}) boundYoungGeneration()
    const kept = []
    let most = 0
    let turns = 0
    const turn = () => {
      for (let n = 0; n < 2000; n++) kept[(turns * 2000 + n) % 1000000] = { n, twice: [n, n] }
      const { space_size } = getHeapSpaceStatistics().find((space) => space.space_name === "new_space")
      most = Math.max(most, space_size)
      if (++turns < 1500) setImmediate(turn)
      else console.log(most / 2 ** 20)
    }
    turn()`
  return Number(execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" }))
}

describe("the young generation of the daemon", () => {
  it("takes one step beyond 16 MiB at most, where it would go on", () => {
    expect(largest(false)).toBeGreaterThan(34)
    expect(largest(true)).toBeLessThan(34)
  })
})
