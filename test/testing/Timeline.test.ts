import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { LinkFault } from "../../src/services/WorkerChannel.ts"
import { Timeline } from "../../src/testing.ts"

const { Action } = Timeline

const everyAction: ReadonlyArray<Timeline.Action> = [
  Action.Die(),
  Action.Vanish(),
  Action.ComeBack(),
  Action.Replace(),
  Action.GoAway(),
  Action.Stop({ seconds: 5 }),
  Action.Stop({ seconds: 0.5 }),
  Action.Renew({ seconds: 30 }),
  Action.Hang(),
  Action.Wake(),
  Action.Saturate(),
  Action.Relieve(),
  Action.Healthy({ value: true }),
  Action.Healthy({ value: false }),
  Action.HealthFails({ value: true }),
  Action.HealthFails({ value: false }),
  Action.Reload({ seconds: 30, eta: true, gone: false }),
  Action.Reload({ seconds: 0.25, eta: false, gone: true }),
  Action.Silent({ value: true }),
  Action.Silent({ value: false }),
  Action.Slow({ millis: 200 }),
  Action.BreakAfter({ frames: 5 }),
  Action.BreakLinks(),
  Action.ResetStreams(),
  ...LinkFault.literals.map((fault) => Action.Unreachable({ fault }))
]

describe("Timeline", () => {
  it("reads back every action that it prints", () => {
    const timeline = everyAction.map((action, n): Timeline.Step => ({ atMillis: n * 1250, action }))
    assert.deepStrictEqual(Result.getOrThrow(Timeline.parse(Timeline.format(timeline))), timeline)
    assert.strictEqual(new Set(everyAction.map(Timeline.formatAction)).size, everyAction.length)
  })

  it("prints in order of time, and keeps the order of one moment", () => {
    const timeline = [Timeline.at(40, Action.ComeBack()), Timeline.at(10, Action.Hang()), Timeline.at(10, Action.Die())]
    assert.strictEqual(Timeline.format(timeline), "at 10s: hang\nat 10s: die\nat 40s: come back")
  })

  it("understands units, comments and loose spacing", () => {
    const text = `
      # an outage
      at 90s:   die     # SIGKILL
      at 2m:    come   back
      at 1h:    reload for 500ms without eta
    `
    assert.deepStrictEqual(Result.getOrThrow(Timeline.parse(text)), [
      { atMillis: 90_000, action: Action.Die() },
      { atMillis: 120_000, action: Action.ComeBack() },
      { atMillis: 3_600_000, action: Action.Reload({ seconds: 0.5, eta: false, gone: false }) }
    ])
  })

  it.each(["at 10: die", "at 10s: dye", "10s: die", "at 10s: break after frames", "at 1d: die"])(
    "names the line that it does not understand: %s",
    (line) => {
      const result = Timeline.parse(`at 1s: hang\n\n${line}`)
      assert(Result.isFailure(result))
      assert.include(result.failure.message, `timeline, line 3: "${line}"`)
    }
  )
})
