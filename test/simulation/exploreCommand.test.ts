import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { assert, describe, it } from "vitest"

const simulate = (...args: ReadonlyArray<string>) =>
  promisify(execFile)(process.execPath, [join(import.meta.dirname, "explore.ts"), ...args])

describe("The explorer's command", () => {
  it("replays a seed from the command line, with its plan and its trace", async () => {
    const first = await simulate("--seed", "5")
    assert.include(first.stdout, "gateway 0:")
    assert.include(first.stdout, "every rule holds")
    assert.strictEqual((await simulate("--seed", "5")).stdout, first.stdout)
  })

  it("plays many seeds from the command line, in several processes", async () => {
    const { stdout } = await simulate("--runs", "20", "--jobs", "2")
    assert.match(stdout, /^20 runs, \d+ streams, \d+ outages, \d+\.\d days of virtual time/)
    assert.include(stdout, "every rule holds")
  })
})
