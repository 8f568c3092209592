import { assert, describe, it } from "@effect/vitest"
import * as Histogram from "../../src/internal/metrics/histogram.ts"
import * as RecentWindow from "../../src/internal/metrics/recentWindow.ts"
import { publicText } from "../../src/internal/publicText.ts"

const observed = (bounds: ReadonlyArray<number>, values: ReadonlyArray<number>) => {
  const histogram = Histogram.make(bounds)
  for (const value of values) histogram.observe(value)
  return histogram.snapshot()
}

describe("Histogram.quantile", () => {
  it("is linear within a bucket, as PromQL's is", () => {
    const distribution = observed([1, 2, 4], [0.5, 1.5, 1.5, 3])
    assert.strictEqual(Histogram.quantile(distribution, 0.25), 1)
    assert.strictEqual(Histogram.quantile(distribution, 0.5), 1.5)
    assert.strictEqual(Histogram.quantile(distribution, 0.75), 2)
    assert.strictEqual(Histogram.quantile(distribution, 1), 4)
  })

  it("is the last bound when it lies beyond, and nothing without observations", () => {
    assert.strictEqual(Histogram.quantile(observed([1, 2], [50, 60]), 0.5), 2)
    assert.strictEqual(Histogram.quantile(observed([1, 2], []), 0.5), undefined)
  })

  it("lies between the bounds of the bucket that holds the true quantile, for any values", () => {
    const bounds = [0.01, 0.1, 0.5, 1, 2, 5]
    for (let seed = 1; seed <= 200; seed++) {
      const values = Array.from({ length: seed }, (_, i) => ((i * 7919 + seed * 104_729) % 5000) / 1000).toSorted(
        (a, b) => a - b
      )
      for (const q of [0.5, 0.9, 0.95, 0.99]) {
        const truth = values[Math.max(0, Math.ceil(q * values.length) - 1)] ?? 0
        const bucket = bounds.findIndex((bound) => truth <= bound)
        const estimate = Histogram.quantile(observed(bounds, values), q) ?? -1
        assert.isAtMost(estimate, bounds[bucket] ?? 0)
        assert.isAtLeast(estimate, bounds[bucket - 1] ?? 0)
      }
    }
  })
})

describe("RecentWindow", () => {
  const totals = (seconds: number, tokens: number, over: Partial<RecentWindow.Totals> = {}): RecentWindow.Totals => ({
    at: seconds * 1000,
    tokens,
    success: 0,
    failed: 0,
    cancelled: 0,
    cpu: 0,
    distributions: {},
    ...over
  })

  it("tells the rate of the last two steps, and one rate for each step before", () => {
    const window = RecentWindow.make(60)
    for (const [at, tokens] of [[0, 0], [5, 50], [10, 50], [15, 250]] as const) window.push(totals(at, tokens))
    const recent = window.recent(totals(16, 290))
    assert.deepStrictEqual(recent.history, [10, 0, 40])
    assert.strictEqual(recent.tokensPerSecond, 40)
    assert.strictEqual(recent.seconds, 16)
  })

  it("forgets what is older than its length", () => {
    const window = RecentWindow.make(3)
    const before = observed([1], [0.5, 0.5])
    for (let step = 0; step <= 10; step++) {
      window.push(totals(step * 5, 0, { success: step, distributions: { d: before } }))
    }
    const recent = window.recent(
      totals(50, 0, { success: 10, failed: 1, distributions: { d: observed([1], [0.5, 0.5, 0.5]) } })
    )
    assert.strictEqual(recent.seconds, 15)
    assert.strictEqual(recent.success, 3)
    assert.strictEqual(recent.successRatio, 0.75)
    assert.strictEqual(recent.quantiles["d"]?.count, 1)
    assert.strictEqual(recent.history.length, 3)
  })

  it("has no ratio, no rate and no quantile before anything happened", () => {
    const recent = RecentWindow.make(60).recent(totals(3, 0, { distributions: { d: observed([1], []), e: undefined } }))
    assert.strictEqual(recent.successRatio, null)
    assert.strictEqual(recent.tokensPerSecond, 0)
    assert.deepStrictEqual(recent.quantiles, { d: { count: 0, mean: null, p50: null, p95: null, p99: null } })
  })

  it("counts a cancelled stream for neither side of the ratio", () => {
    const window = RecentWindow.make(60)
    window.push(totals(0, 0))
    assert.strictEqual(window.recent(totals(5, 0, { success: 1, cancelled: 9 })).successRatio, 1)
    assert.strictEqual(window.recent(totals(5, 0, { cancelled: 9 })).successRatio, null)
  })
})

describe("publicText", () => {
  const publish = publicText(["/srv/my worker/w.sock", ".sidecar/usage.sqlite"])

  it("leaves folders out and keeps the name", () => {
    const cases = [
      ["nobody listens on /tmp/cy_worker.sock", "nobody listens on …/cy_worker.sock"],
      ["connect unix:///run/a/b.sock failed", "connect …/b.sock failed"],
      ["(now unix:///tmp/w.sock): start it", "(now …/w.sock): start it"],
      ["open '/var/lib/x/y.db'", "open '…/y.db'"],
      ["path=/etc/shadow", "path=…/shadow"],
      ["no space for .sidecar/usage.sqlite", "no space for …/usage.sqlite"],
      ["/srv/my worker/w.sock is gone", "…/w.sock is gone"],
      ["/tmp", "…/tmp"]
    ] as const
    for (const [given, shown] of cases) assert.strictEqual(publish(given), shown)
  })

  it("leaves alone what is no path", () => {
    for (
      const text of [
        "set [server] bind_addr / SIDECAR_BIND_ADDR",
        "cy.llm.AiInference/Health answers with an error",
        "at https://example.com/a/b",
        "12 of 10 threads"
      ]
    ) assert.strictEqual(publish(text), text)
  })

  it("makes one line of at most 400 characters", () => {
    const shown = publish(`a\n\u001b[31mb\u202e ${"x".repeat(1000)}`)
    assert.isTrue(shown.startsWith("a [31mb "))
    assert.strictEqual(shown.length, 400)
    assert.isTrue(shown.endsWith("…"))
  })
})
