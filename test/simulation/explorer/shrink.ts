import type { Call, Plan } from "./plan.ts"

/** A plan that still fails, and how many runs it took to find it. */
export interface Shrunk {
  readonly plan: Plan
  readonly runs: number
}

/** `list` without each run of `size` elements, one after the other. */
const without = <A>(list: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  Array.from(
    { length: Math.ceil(list.length / size) },
    (_, n) => [...list.slice(0, n * size), ...list.slice((n + 1) * size)]
  )

/** Half of them, a quarter … one: large pieces first. */
const sizes = (length: number): ReadonlyArray<number> => {
  const all: Array<number> = []
  for (let size = Math.ceil(length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) all.push(size)
  return all
}

const fewer = <A>(list: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
  sizes(list.length).flatMap((size) => without(list, size))

const simplerCall = (call: Call): ReadonlyArray<Call> => {
  const { cancelAfterMessages, cancelAfterMillis, timeoutMillis, vanishAfterMillis, ...rest } = call
  const ends = { cancelAfterMessages, cancelAfterMillis, timeoutMillis, vanishAfterMillis }
  const plain: ReadonlyArray<Call> = [
    { ...call, script: { ...call.script, notices: 0 } },
    { ...call, script: { ...call.script, firstAfterMillis: 0 } },
    { ...call, script: { ...call.script, batch: 1 } },
    { ...call, script: { ...call.script, headers: false } },
    { ...call, script: { ...call.script, tokens: 1 } },
    { ...call, script: { ...call.script, end: "ok" } },
    { ...call, reader: "eager", windowBytes: 65_536 },
    { ...call, paddingBytes: 0 },
    { ...call, priority: 0 },
    { ...call, halfClose: "at once" },
    { ...call, notice: false },
    { ...call, odd: false },
    { ...rest },
    ...Object.keys(ends).map((key) => ({ ...rest, ...ends, [key]: undefined }))
  ]
  return plain.filter((one) => JSON.stringify(one) !== JSON.stringify(call))
}

/** Plans that are a little simpler than this one, the boldest first. */
const simpler = function*(plan: Plan): Generator<Plan> {
  const calm = { stall: 0, shuffle: false, yields: 0, earlyTimers: false }
  if (JSON.stringify(plan.machine) !== JSON.stringify(calm)) yield { ...plan, machine: calm }
  for (const calls of fewer(plan.calls)) yield { ...plan, calls }
  for (const timeline of fewer(plan.timeline)) yield { ...plan, timeline }
  for (const operations of fewer(plan.operations)) yield { ...plan, operations }
  for (const [section, keys] of Object.entries(plan.config)) {
    for (const key of Object.keys(keys ?? {})) {
      const { [key]: _, ...rest } = Object.fromEntries(Object.entries(keys ?? {}))
      yield { ...plan, config: { ...plan.config, [section]: rest } }
    }
  }
  for (const [n, call] of plan.calls.entries()) {
    for (const one of simplerCall(call)) yield { ...plan, calls: plan.calls.with(n, one) }
  }
  const last = Math.max(0, ...[...plan.calls, ...plan.timeline, ...plan.operations].map(({ atMillis }) => atMillis))
  if (plan.healAtMillis > last + 1000) yield { ...plan, healAtMillis: last + 1000 }
}

/** Leaves out what is not needed for `fails`, until nothing more can go, or `budget` runs are spent. */
export const shrink = (plan: Plan, fails: (plan: Plan) => boolean, budget: number): Shrunk => {
  let best = plan
  let runs = 0
  let progress = true
  while (progress && runs < budget) {
    progress = false
    for (const candidate of simpler(best)) {
      if (runs >= budget) break
      runs++
      if (!fails(candidate)) continue
      best = candidate
      progress = true
      break
    }
  }
  return { plan: best, runs }
}
