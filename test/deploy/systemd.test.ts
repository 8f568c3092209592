import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"

const unit = fileURLToPath(new URL("../../deploy/systemd/cy-llm-sidecar.service", import.meta.url))
const text = readFileSync(unit, "utf8")

const analysed = spawnSync("systemd-analyze", ["security", "--offline=yes", unit], { encoding: "utf8" })
const exposure = /Overall exposure level for .*: ([\d.]+)/.exec(analysed.stdout ?? "")?.[1]

const seconds = (key: string): number => Number(new RegExp(`^${key}=(\\d+)s$`, "m").exec(text)?.[1])

describe("the systemd unit", () => {
  it.skipIf(exposure === undefined)(
    "exposes little, by systemd-analyze security (skipped where it is not installed)",
    () => {
      expect(Number(exposure)).toBeLessThanOrEqual(2)
    }
  )

  it("stops later than the drain and the last flush, and does not try again what is a mistake", () => {
    // [server] drain_timeout_secs and 15 s for the flush.
    expect(seconds("TimeoutStopSec")).toBeGreaterThanOrEqual(30 + 15)
    expect(text).toContain("\nRestartPreventExitStatus=78\n")
  })
})
