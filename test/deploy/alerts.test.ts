import { spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"
import { parse } from "yaml"

const folder = fileURLToPath(new URL("../../deploy/prometheus/", import.meta.url))

interface Rules {
  readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<{ readonly alert: string }> }>
}

interface Tests {
  readonly tests: ReadonlyArray<{
    readonly alert_rule_test: ReadonlyArray<{ readonly alertname: string; readonly exp_alerts: ReadonlyArray<unknown> }>
  }>
}

const rules: Rules = parse(readFileSync(`${folder}sidecar-alerts.yml`, "utf8"))
const tests: Tests = parse(readFileSync(`${folder}sidecar-alerts_test.yml`, "utf8"))

const promtool = (...args: ReadonlyArray<string>) => spawnSync("promtool", args, { cwd: folder, encoding: "utf8" })
const missing = promtool("--version").status !== 0

it("each alert is tried when it has to fire and when it must not", () => {
  const tried = tests.tests.flatMap((test) => test.alert_rule_test)
  const names = (fires: boolean) =>
    new Set(tried.filter(({ exp_alerts }) => exp_alerts.length > 0 === fires).map(({ alertname }) => alertname))
  const all = rules.groups.flatMap((group) => group.rules.map(({ alert }) => alert)).toSorted()
  expect(all.length).toBeGreaterThan(10)
  expect([...names(true)].toSorted()).toEqual(all)
  expect([...names(false)].toSorted()).toEqual(all)
})

it.skipIf(missing)("Prometheus' own tool finds that each does what it was tried for", () => {
  for (const args of [["check", "config", "prometheus.yml"], ["test", "rules", "sidecar-alerts_test.yml"]]) {
    const { status, stderr, stdout } = promtool(...args)
    expect(status, `${stdout}${stderr}`).toBe(0)
  }
})
