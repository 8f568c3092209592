import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Random } from "effect"
import { TestClock } from "effect/testing"
import * as Pace from "../../src/internal/connection/pace.ts"
import type { Settings } from "../../src/services/SidecarConfig.ts"
import { LinkError } from "../../src/services/WorkerChannel.ts"

const health: Settings["health"] = {
  check_interval_secs: 5,
  check_timeout_secs: 2,
  failure_threshold: 3,
  max_reconnect_attempts: 3,
  ready_when: "accepting",
  reconnect_delay_secs: 2
}

const refused = new LinkError({ fault: "ConnectionRefused", detail: "nobody listens" })

/** The plans of so many pauses, each waited for. */
const plansOf = Effect.fnUntraced(function*(
  use: (pace: Pace.Pace) => Effect.Effect<void>,
  settings: Partial<Settings["health"]> = {}
) {
  const plans: Array<Pace.Plan> = []
  const pace = yield* Pace.make({ ...health, ...settings }, (plan) => Effect.sync(() => void plans.push(plan)))
  const fiber = yield* Effect.forkChild(use(pace), { startImmediately: true })
  yield* TestClock.adjust("10 minutes")
  yield* Fiber.join(fiber)
  return plans
}, Random.withSeed("pace"))

const wordsOf = (plans: ReadonlyArray<Pace.Plan>) => plans.map(({ attempt, phase }) => `${attempt} ${phase}`)
const times = (count: number, pace: Pace.Pace, before: Pace.Before = refused) =>
  Effect.repeat(pace.pause(before), { times: count - 1 }).pipe(Effect.asVoid)

describe("the pace of dials", () => {
  it.effect("grows from reconnect_delay_secs to check_interval_secs, says once that the attempts are over, and goes on", () =>
    Effect.gen(function*() {
      const plans = yield* plansOf((pace) => times(6, pace))
      assert.deepStrictEqual(wordsOf(plans), [
        "1 growing",
        "2 growing",
        "3 growing",
        "4 exhausted",
        "5 steady",
        "6 steady"
      ])
      const [first = 0, second = 0, third, ...rest] = plans.map(({ delayMillis }) => delayMillis)
      assert.closeTo(first, 2000, 400)
      assert.closeTo(second, 4000, 800)
      assert.deepStrictEqual([third, ...rest], [5000, 5000, 5000, 5000])
    }))

  it.effect("grows for ever with max_reconnect_attempts = 0", () =>
    Effect.gen(function*() {
      const plans = yield* plansOf((pace) => times(20, pace), { max_reconnect_attempts: 0 })
      assert.isTrue(plans.every(({ phase }) => phase === "growing"))
    }))

  it.effect("begins with five quick steps when it is told to be eager, and anew when it is told to be calm", () =>
    Effect.gen(function*() {
      const plans = yield* plansOf((pace) =>
        Effect.gen(function*() {
          yield* times(2, pace)
          yield* pace.begin("eager")
          yield* times(6, pace)
          yield* pace.begin("calm")
          yield* times(1, pace)
        })
      )
      assert.deepStrictEqual(wordsOf(plans).slice(2), [
        "1 eager",
        "2 eager",
        "3 eager",
        "4 eager",
        "5 eager",
        "6 growing",
        "1 growing"
      ])
      assert.deepStrictEqual(plans.slice(2, 7).map(({ delayMillis }) => delayMillis), [20, 40, 80, 160, 320])
    }))

  it.effect("is eager no longer once a link was lost: its server did listen", () =>
    Effect.gen(function*() {
      const plans = yield* plansOf((pace) =>
        Effect.gen(function*() {
          yield* pace.begin("eager")
          yield* times(1, pace, "unready")
          yield* times(1, pace, "lost")
          yield* times(1, pace)
        })
      )
      assert.deepStrictEqual(plans.map(({ before, phase }) => [before, phase]), [
        ["unready", "eager"],
        ["lost", "growing"],
        [refused, "growing"]
      ])
    }))
})
