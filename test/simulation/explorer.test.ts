import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Latch } from "effect"
import { soak } from "../support/run/soak.ts"
import { Chance } from "./explorer/chance.ts"
import { draw } from "./explorer/draw.ts"
import { explore } from "./explorer/explore.ts"
import { format, type Plan } from "./explorer/plan.ts"
import { play } from "./explorer/play.ts"
import { check } from "./explorer/rules.ts"
import { shrink } from "./explorer/shrink.ts"
import { Deadlock, HotLoop, type Machine, VirtualTime } from "./explorer/virtualTime.ts"

/** `npm run simulate -- --runs 20000` has more. */
const RUNS = soak(2000, 50)
/** Each run takes some milliseconds. */
const PATIENCE = 300_000

const calm: Machine = { stall: 0, shuffle: false, yields: 0, earlyTimers: false }
const wild: Machine = { stall: 0.3, shuffle: true, yields: 0.05, earlyTimers: true }

describe("The explorer", () => {
  it(`finds no broken rule in ${RUNS} runs`, () => {
    const { failure, outages, runs, streams, virtualMillis } = explore({ seed: 1, runs: RUNS })
    assert.deepStrictEqual(failure?.broken, undefined, failure === undefined ? "" : format(failure.plan))
    assert.strictEqual(runs, RUNS)
    // That much happened, or the runs prove nothing.
    assert.isAbove(streams, 10 * RUNS)
    assert.isAbove(outages, RUNS)
    assert.isAbove(virtualMillis, 60_000 * RUNS)
  }, PATIENCE)

  it("gives the same trace for the same seed, and another one for another", () => {
    const trace = (seed: number) => play(draw(seed)).evidence?.trace ?? ""
    const traces = [11, 12, 13, 14].map(trace)
    assert.deepStrictEqual([11, 12, 13, 14].map(trace), traces)
    assert.strictEqual(new Set(traces).size, 4)
    for (const one of traces) assert.isAbove(one.split("\n").length, 20)
  })

  it("draws plans in which everything happens", () => {
    const plans = Array.from({ length: 400 }, (_, seed) => draw(seed))
    const words = plans.map(format).join("\n")
    const all = [
      "die",
      "vanish",
      "come back",
      "replace",
      "send GOAWAY",
      "stop within",
      "renew connections",
      "hang",
      "saturate",
      "healthy = false",
      "fail health",
      "without eta",
      "and be gone",
      "accept and never answer",
      "answer slowly",
      "break after",
      "break links",
      "reset streams",
      "unreachable",
      "announce reload",
      "drain",
      "abort",
      "deadline",
      "cancels after",
      "vanishes after",
      "reads one message each",
      "reads nothing after",
      "end: stuck",
      "end: unfinished",
      "end: internal",
      "end: usage",
      "notices",
      "priority",
      "asks for a notice"
    ]
    assert.deepStrictEqual(all.filter((one) => !words.includes(one)), [])
  })

  it("shrinks a timeline to what is needed", () => {
    const needed = (candidate: Plan): boolean => candidate.calls.some(({ script }) => script.tokens > 3)
    const long = (candidate: Plan): boolean => candidate.calls.length > 10 && candidate.timeline.length > 5
    const plan = Array.from({ length: 200 }, (_, seed) => draw(seed)).find((one) => needed(one) && long(one))
    if (plan === undefined) return assert.fail("no plan is long enough")
    const shrunk = shrink(plan, needed, 2000)
    assert.lengthOf(shrunk.plan.calls, 1)
    assert.isEmpty(shrunk.plan.timeline)
    assert.isEmpty(shrunk.plan.operations)
    assert.deepStrictEqual(shrunk.plan.machine, calm)
    assert.isTrue(needed(shrunk.plan))
  })

  it("plays what is left of a plan when almost everything is left out", () => {
    const empty = { ...draw(1), calls: [], timeline: [], operations: [], config: {}, machine: calm }
    assert.deepStrictEqual(check(play(empty)), [])
  })
})

describe("Virtual time", () => {
  it("moves when everybody sleeps, in the order of the sleepers", () => {
    const time = new VirtualTime(new Chance(1, 0), calm)
    const order: Array<string> = []
    const sleeper = (name: string, millis: number) =>
      Effect.andThen(
        Effect.sleep(millis),
        Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.sync(() => order.push(`${name} ${now}`)))
      )
    const all = Effect.all([sleeper("c", 3_600_000), sleeper("a", 10), sleeper("b", 10)], { concurrency: "unbounded" })
    assert.isTrue(Exit.isSuccess(time.run(all)))
    assert.deepStrictEqual(order, ["a 10", "b 10", "c 3600000"])
  })

  it("moves while the program is busy, too, when the machine stalls", () => {
    const elapsed = (machine: Machine) => {
      const time = new VirtualTime(new Chance(1, 0), machine)
      time.run(Effect.forEach(Array.from({ length: 200 }), () => Effect.yieldNow))
      return time.currentTimeMillisUnsafe()
    }
    assert.strictEqual(elapsed(calm), 0)
    assert.isAbove(elapsed(wild), 10)
  })

  it("runs what is ready together in an order of its seed", () => {
    const order = (seed: number, machine: Machine) => {
      const time = new VirtualTime(new Chance(seed, 0), machine)
      const seen: Array<number> = []
      time.run(
        Effect.forEach(
          [0, 1, 2, 3, 4],
          (n) => Effect.andThen(Effect.yieldNow, Effect.sync(() => seen.push(n))),
          { concurrency: "unbounded" }
        )
      )
      return seen.join("")
    }
    const shuffled = { ...calm, shuffle: true }
    assert.strictEqual(order(1, calm), "01234")
    assert.strictEqual(order(1, shuffled), order(1, shuffled))
    assert.isAbove(new Set([1, 2, 3, 4, 5].map((seed) => order(seed, shuffled))).size, 1)
  })

  it("finds a program that waits for nothing, and one that never rests", () => {
    assert.throws(() => new VirtualTime(new Chance(1, 0), calm).run(Latch.makeUnsafe(false).await), Deadlock)
    assert.throws(() => new VirtualTime(new Chance(1, 0), calm).run(Effect.forever(Effect.yieldNow)), HotLoop)
  })
})
