import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { references } from "../src/internal/metrics/reference.ts"
import * as PromMetrics from "../src/layers/PromMetrics.ts"
import { Metrics } from "../src/services/Metrics.ts"
import { Outcome } from "../src/services/UsageRecord.ts"
import { allFamilies, withTables } from "./support/run/metricsReference.ts"

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8")

const dashboard = "deploy/grafana/cy-llm-sidecar.json"
const alerts = "deploy/prometheus/sidecar-alerts.yml"
const reference = "docs/metrics.md"

/** Names of metrics in a text, without the endings that a histogram's series have. */
const named = (text: string): ReadonlySet<string> =>
  new Set(
    Array.from(
      text.matchAll(/\b(?:sidecar|nodejs|process)_[a-z\d_]*[a-z\d]\b/g),
      ([name]) => name.replace(/_(bucket|sum|count)$/, "")
    )
  )

/** Words in the reference that only look like metrics. */
const others = new Set(["process_cpu", "nodejs_eventloop"])

const exposed = Effect.gen(function*() {
  const { body } = yield* (yield* Metrics).scrape
  return {
    body,
    types: new Map(Array.from(body.matchAll(/^# TYPE (\S+) (\S+)$/gm), ([, name = "", type = ""]) => [name, type]))
  }
})

describe("what operators are given", () => {
  it.effect.each([dashboard, alerts, reference])("%s names only metrics that exist", (path) =>
    Effect.gen(function*() {
      const { types } = yield* exposed
      const unknown = [...named(read(path))].filter((name) => !types.has(name) && !others.has(name))
      assert.deepStrictEqual(unknown, [])
      assert.isAbove(named(read(path)).size, 5)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("the reference names every metric of the sidecar, with its type", () =>
    Effect.gen(function*() {
      const { types } = yield* exposed
      const text = read(reference)
      const wrong = [...types].filter(([name, type]) =>
        name.startsWith("sidecar_") && !(
          text.includes(`\`${name}\``) && (type === "histogram" || text.includes(`| \`${name}\` | ${type} |`)) ||
          new RegExp(`\`${name}\\{[a-z_,]+\\}\``).test(text) &&
            (name === "sidecar_build_info" || new RegExp(`\\| \`${name}\\{[a-z_,]+\\}\` \\| ${type} \\|`).test(text))
        )
      )
      assert.deepStrictEqual(wrong, [])
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("the label values in the alerts and the dashboard are values that occur", () =>
    Effect.gen(function*() {
      const { body } = yield* exposed
      const quoted = [read(alerts), read(dashboard).replaceAll("\\\"", "\"")].flatMap((text) =>
        Array.from(text.matchAll(/\b(state|outcome)(?:=~|!~|!=|=)"([^"]+)"/g), ([, , values = ""]) => values.split("|"))
      ).flat()
      const unknown = quoted.filter((value) => !body.includes(`="${value}"`))
      assert.deepStrictEqual(unknown, [])
      assert.isAbove(quoted.length, 8)
    }).pipe(Effect.provide(PromMetrics.layer)))

  // Where there is no /proc the process has fewer figures.
  it.skipIf(process.platform !== "linux")("the reference is what `npm run docs:metrics` writes now", () => {
    const text = read(reference)
    assert.strictEqual(text, withTables(text))
  })

  it("the reference has each metric once, with a unit, and of ours what it means", () => {
    const families = allFamilies()
    const rows = read(reference).split("\n").filter((line) => line.startsWith("| `") && line.split(" | ").length === 5)
    const names = rows.map((line) => line.slice(3).split(/[`{]/)[0] ?? "")
    assert.deepStrictEqual(names.toSorted(), families.map(({ name }) => name).toSorted())
    assert.deepStrictEqual(rows.filter((line) => line.split(" | ")[2] === ""), [])
    const ours = families.map(({ name }) => name).filter((name) => name.startsWith("sidecar_"))
    assert.deepStrictEqual(ours.filter((name) => references[name] === undefined), [])
    assert.deepStrictEqual(Object.keys(references).filter((name) => !names.includes(name)), [])
  })

  it("the reference explains every outcome", () => {
    const text = read(reference)
    assert.deepStrictEqual(Outcome.literals.filter((outcome) => !text.includes(`| \`${outcome}\` |`)), [])
  })
})
