import { type TestConfig, Timeline } from "../../../src/testing.ts"
import { Chance } from "./chance.ts"
import type { Call, Operation, Plan, Script } from "./plan.ts"
import type { Machine } from "./virtualTime.ts"

const { Action } = Timeline

/**
 * Swarm testing (Groce et al., 2012): each run uses only some of the faults and behaviours, so that rare ones are not
 * always drowned by common ones.
 */

type Fault = (chance: Chance) => ReadonlyArray<readonly [offsetMillis: number, action: Timeline.Action]>

const outage = (chance: Chance): number => chance.skewed(100, 60_000)

const faults: readonly [Fault, ...ReadonlyArray<Fault>] = [
  (chance) => [[0, Action.Die()], [outage(chance), Action.ComeBack()]],
  (chance) => [[0, Action.Vanish()], [outage(chance), Action.ComeBack()]],
  () => [[0, Action.ComeBack()]],
  (chance) => [[0, Action.Reload({ seconds: chance.int(1, 90), eta: chance.yes(0.7), gone: false })]],
  (chance) => [[0, Action.Reload({ seconds: chance.int(1, 60), eta: true, gone: true })]],
  (chance) => {
    const seconds = chance.int(5, 60)
    const at = chance.int(0, seconds * 1000)
    return [
      [0, Action.Reload({ seconds, eta: chance.yes(0.5), gone: false })],
      [at, chance.yes(0.5) ? Action.Die() : Action.Vanish()],
      [at + outage(chance), Action.ComeBack()]
    ]
  },
  (chance) => [[0, Action.Hang()], [outage(chance), Action.Wake()]],
  (chance) => [[0, Action.Saturate()], [outage(chance), Action.Relieve()]],
  (chance) => [[0, Action.Healthy({ value: false })], [outage(chance), Action.Healthy({ value: true })]],
  (chance) => [[0, Action.HealthFails({ value: true })], [outage(chance), Action.HealthFails({ value: false })]],
  (chance) => [
    [0, Action.Silent({ value: true })],
    [1, Action.BreakLinks()],
    [outage(chance), Action.Silent({ value: false })]
  ],
  (chance) => [[0, Action.Slow({ millis: chance.skewed(10, 4000) })], [outage(chance), Action.Slow({ millis: 0 })]],
  (chance) => [[0, Action.BreakAfter({ frames: chance.int(1, 30) })]],
  () => [[0, Action.BreakLinks()]],
  () => [[0, Action.ResetStreams()]],
  () => [[0, Action.GoAway()]],
  (chance) => {
    const seconds = chance.skewed(100, 30_000) / 1000
    return [[0, Action.Stop({ seconds })], [outage(chance), Action.ComeBack()]]
  },
  (chance) => [[0, Action.Renew({ seconds: chance.skewed(100, 60_000) / 1000 })]],
  () => [[0, Action.Replace()]],
  (chance) =>
    Array.from({ length: chance.int(3, 12) }, (_, n) => [n * chance.int(50, 2500), Action.BreakLinks()] as const),
  (chance) => [
    [0, Action.Unreachable({ fault: chance.pick(["PermissionDenied", "NotASocket", "NotGrpc"]) })],
    [outage(chance), Action.ComeBack()]
  ]
]

const drawTimeline = (chance: Chance, lengthMillis: number, watch: boolean): Timeline.Timeline => {
  const mine = chance.some(faults, 0.25)
  const steps: Array<Timeline.Step> = []
  const count = chance.skewed(1, 10)
  for (let n = 0; n < count; n++) {
    const at = chance.int(0, lengthMillis)
    for (const [offset, action] of chance.pick(mine)(chance)) {
      // Without the watch nobody notices that another process has taken the address of one that lives.
      if (watch || action._tag !== "Replace") steps.push({ atMillis: at + offset, action })
    }
  }
  return Timeline.inOrder(steps)
}

const ends: readonly [Script["end"], ...ReadonlyArray<Script["end"]>] = [
  "ok",
  "ok",
  "ok",
  "usage",
  "linger",
  "unfinished",
  "empty",
  "error",
  "internal",
  "invalid",
  "stuck"
]

const drawScript = (chance: Chance, swarm: readonly [Script["end"], ...ReadonlyArray<Script["end"]>]): Script => ({
  tokens: chance.skewed(1, 40),
  notices: chance.yes(0.25) ? chance.int(1, 4) : 0,
  firstAfterMillis: chance.yes(0.6) ? chance.skewed(1, 30_000) : 0,
  everyMillis: chance.yes(0.2) ? 0 : chance.skewed(1, 5000),
  batch: chance.yes(0.7) ? 1 : chance.int(2, 8),
  headers: chance.yes(0.5),
  end: chance.yes(0.5) ? "ok" : chance.pick(swarm)
})

type Behaviour = (chance: Chance) => Partial<Call>

const behaviours: readonly [Behaviour, ...ReadonlyArray<Behaviour>] = [
  (chance) => ({ timeoutMillis: chance.skewed(1, 120_000) }),
  (chance) => ({ cancelAfterMillis: chance.skewed(1, 60_000) }),
  (chance) => ({ vanishAfterMillis: chance.skewed(1, 60_000) }),
  (chance) => ({ cancelAfterMessages: chance.int(1, 12) }),
  (chance) => ({ reader: { everyMillis: chance.skewed(1, 20_000) }, windowBytes: chance.skewed(10, 2000) }),
  (chance) => ({ reader: { stallAfter: chance.int(0, 6) }, windowBytes: chance.skewed(10, 500) }),
  (chance) => ({ paddingBytes: chance.skewed(100, 20_000) }),
  (chance) => ({ halfClose: chance.pick(["at the end", "never"]) }),
  (chance) => ({ priority: chance.int(-3, 9) }),
  () => ({ notice: true }),
  () => ({ odd: true }),
  // As gRPC libraries do: cancelled by the gateway itself when its time is over, a little before our own clock's word.
  (chance) => {
    const timeoutMillis = chance.skewed(50, 60_000)
    return { timeoutMillis, cancelAfterMillis: timeoutMillis - chance.int(0, 20) }
  },
  // It has no limits of its own but the caller's.
  (chance) => ({ foreign: true, timeoutMillis: chance.skewed(10, 60_000) })
]

const drawCalls = (chance: Chance, lengthMillis: number): ReadonlyArray<Call> => {
  const swarm = chance.some(ends, 0.3)
  const mine = chance.some(behaviours, 0.3)
  const habit = chance.pick([0, 0.1, 0.5, 1])
  const calls: Array<Call> = []
  const many = chance.skewed(1, 30)
  while (calls.length < many) {
    const atMillis = chance.int(0, lengthMillis)
    const together = chance.yes(0.3) ? chance.int(2, 30) : 1
    for (let n = 0; n < together; n++) {
      const odd = chance.yes(habit) ? { ...chance.pick(mine)(chance), ...chance.pick(mine)(chance) } : {}
      calls.push({
        atMillis,
        script: drawScript(chance, swarm),
        priority: 0,
        paddingBytes: 0,
        reader: "eager",
        windowBytes: 65_536,
        halfClose: "at once",
        notice: false,
        odd: false,
        foreign: false,
        ...odd
      })
    }
  }
  return calls.sort((a, b) => a.atMillis - b.atMillis)
}

const drawOperations = (chance: Chance, lengthMillis: number): ReadonlyArray<Operation> => {
  const operations: Array<Operation> = []
  if (chance.yes(0.3)) {
    const atMillis = chance.int(0, lengthMillis)
    const etaSeconds = chance.yes(0.7) ? chance.int(1, 60) : undefined
    operations.push({ atMillis, what: "announce reload", etaSeconds })
    if (chance.yes(0.5)) operations.push({ atMillis: atMillis + outage(chance), what: "announce ready" })
  }
  if (chance.yes(0.1)) operations.push({ atMillis: chance.int(0, lengthMillis), what: "reconnect" })
  if (chance.yes(0.1)) {
    const atMillis = chance.int(0, lengthMillis)
    operations.push({ atMillis, what: "drain" })
    if (chance.yes(0.5)) operations.push({ atMillis: atMillis + chance.int(0, 20_000), what: "abort" })
    operations.push({ atMillis: atMillis + chance.int(20_000, 40_000), what: "undrain" })
  }
  return operations.sort((a, b) => a.atMillis - b.atMillis)
}

const drawConfig = (chance: Chance): TestConfig.Overrides => {
  const tight = chance.yes(0.4)
  return {
    server: {
      first_token_timeout_secs: chance.pick([40, 120]),
      stream_idle_timeout_secs: chance.pick([10, 60]),
      slow_reader_timeout_secs: chance.pick([5, 60]),
      ...(chance.yes(0.3)
        ? {
          max_worker_streams: chance.int(1, 6),
          max_queued_streams: chance.int(1, 30),
          queue_timeout_secs: chance.pick([5, 60])
        }
        : {}),
      ...(chance.yes(0.1) ? { max_concurrent_streams: chance.int(2, 20) } : {}),
      ...(chance.yes(0.1) ? { require_end_of_stream: false } : {})
    },
    health: {
      check_interval_secs: chance.pick([1, 5, 5]),
      check_timeout_secs: chance.pick([0.5, 2, 2]),
      failure_threshold: chance.pick([1, 3, 3]),
      reconnect_delay_secs: chance.pick([0.3, 2, 2]),
      max_reconnect_attempts: chance.pick([0, 1, 5, 5])
    },
    reload: {
      hold_timeout_secs: chance.pick([3, 30, 30]),
      hold_on_disconnect_secs: chance.pick([0, 0, 10, 60]),
      ...(tight ? { max_held_streams: chance.int(0, 12) } : {}),
      ...(tight ? { max_held_bytes: chance.skewed(500, 50_000) } : {}),
      replay_max_bytes: chance.pick([1_048_576, 1_048_576, 5000, 0]),
      max_reload_secs: chance.pick([20, 600]),
      hold_notice: chance.yes(0.1) ? "[System] please wait {eta}s" : ""
    },
    circuit_breaker: {
      trip_after: chance.pick([1, 5, 5]),
      open_secs: chance.pick([2, 10])
    }
  }
}

const machines: readonly [Machine, ...ReadonlyArray<Machine>] = [
  { stall: 0, shuffle: false, yields: 0, earlyTimers: false },
  { stall: 0.1, shuffle: false, yields: 0, earlyTimers: true },
  { stall: 0.3, shuffle: true, yields: 0, earlyTimers: true },
  { stall: 0.1, shuffle: true, yields: 0.02, earlyTimers: true }
]

/** The plan of a seed. */
export const draw = (seed: number): Plan => {
  const chance = new Chance(seed, 0)
  const lengthMillis = chance.skewed(5000, 240_000)
  const watch = chance.yes(0.8)
  const timeline = drawTimeline(chance, lengthMillis, watch)
  const operations = drawOperations(chance, lengthMillis)
  const calls = drawCalls(chance, lengthMillis)
  const last = Math.max(...[...timeline, ...operations, ...calls].map(({ atMillis }) => atMillis))
  return {
    seed,
    machine: chance.pick(machines),
    config: drawConfig(chance),
    worker: {
      threads: chance.yes(0.3) ? chance.int(3, 10) : undefined,
      // A generation that never ends and survives its cancel would hold its thread for ever: no worker heals from that.
      generationSurvivesCancel: chance.yes(0.3) && calls.every(({ script }) => script.end !== "stuck"),
      watch
    },
    timeline,
    operations,
    calls,
    healAtMillis: last + chance.int(0, 30_000)
  }
}
