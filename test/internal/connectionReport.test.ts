import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { connectionReport } from "../../src/internal/http2/connectionReport.ts"
import * as NoMetrics from "../../src/layers/NoMetrics.ts"
import { GatewayMetrics } from "../../src/services/GatewayMetrics.ts"
import type { SidecarEvent } from "../../src/services/SidecarEvents.ts"

describe("connectionReport", () => {
  it.effect("logs a limit that bites all the time each ten seconds, and makes it an event once a minute", () =>
    Effect.gen(function*() {
      const time = { now: 0 }
      const lines: Array<unknown> = []
      const events: Array<SidecarEvent> = []
      const report = connectionReport(
        yield* GatewayMetrics,
        (line) => lines.push(line),
        () => time.now,
        (event) => events.push(event)
      )
      for (; time.now <= 600_000; time.now += 1000) report.limit("resets", "10.0.0.1")
      assert.strictEqual(lines.length, 61)
      assert.deepStrictEqual(
        events.map((event) => event._tag === "LimitReached" ? [event.limit, event.times] : event._tag),
        [["resets", 1], ...Array.from({ length: 10 }, () => ["resets", 60])]
      )
    }).pipe(Effect.provide(NoMetrics.layer)))
})
