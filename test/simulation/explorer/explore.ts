import { draw } from "./draw.ts"
import type { Plan } from "./plan.ts"
import { play, type Played } from "./play.ts"
import { type Broken, check } from "./rules.ts"
import { shrink } from "./shrink.ts"

/** A seed whose run broke a rule. */
export interface Failure {
  readonly seed: number
  readonly broken: ReadonlyArray<Broken>
  /** The shortest plan that breaks the same rule, and what it breaks. */
  readonly plan: Plan
  readonly shortest: ReadonlyArray<Broken>
  /** Runs that the shrinking took. */
  readonly shrinkRuns: number
}

/** What many runs came to. */
export interface Explored {
  readonly runs: number
  readonly streams: number
  readonly outages: number
  readonly virtualMillis: number
  readonly failure: Failure | undefined
}

/** What can be told to {@link explore}. */
export interface ExploreOptions {
  readonly seed: number
  readonly runs: number
  /** Each so many-th seed is run twice, and must give the same trace. Default 50. */
  readonly repeatEach?: number | undefined
  /** Runs that shrinking may take. Default 400. */
  readonly shrinkRuns?: number | undefined
  readonly onRun?: ((done: number) => void) | undefined
}

const DIFFERENT = "the same seed gives the same trace"

const repeated = (plan: Plan, first: Played): ReadonlyArray<Broken> => {
  const second = play(plan)
  const [one, two] = [first, second].map(({ evidence }) => evidence?.trace.split("\n") ?? [])
  const at = (one ?? []).findIndex((line, n) => line !== two?.[n])
  if (at < 0 && one?.length === two?.length) return []
  return [{ rule: DIFFERENT, detail: `line ${at + 1}: ${one?.[at]} / ${two?.[at]}` }]
}

const fail = (plan: Plan, broken: ReadonlyArray<Broken>, budget: number): Failure => {
  const [first] = broken
  const breaks = (candidate: Plan): ReadonlyArray<Broken> => {
    const played = play(candidate)
    return [...check(played), ...(first?.rule === DIFFERENT ? repeated(candidate, played) : [])]
  }
  const { plan: shortest, runs } = shrink(
    plan,
    (candidate) => breaks(candidate).some(({ rule }) => rule === first?.rule),
    budget
  )
  return { seed: plan.seed, broken, plan: shortest, shortest: breaks(shortest), shrinkRuns: runs }
}

/** Plays the plans of `runs` seeds from `seed` on, until one of them breaks a rule. */
export const explore = (options: ExploreOptions): Explored => {
  const { repeatEach = 50, runs, seed, shrinkRuns = 400 } = options
  let streams = 0
  let outages = 0
  let virtualMillis = 0
  for (let n = 0; n < runs; n++) {
    const plan = draw(seed + n)
    const played = play(plan)
    streams += (played.evidence?.calls.length ?? 0) + (played.evidence?.late.length ?? 0)
    outages += played.evidence?.history.filter(({ state }, at, all) =>
      state._tag !== "Connected" && all[at - 1]?.state._tag === "Connected"
    ).length ?? 0
    virtualMillis += played.virtualMillis
    const broken = [...check(played), ...((seed + n) % repeatEach === 0 ? repeated(plan, played) : [])]
    if (broken.length > 0) {
      return { runs: n + 1, streams, outages, virtualMillis, failure: fail(plan, broken, shrinkRuns) }
    }
    options.onRun?.(n + 1)
  }
  return { runs, streams, outages, virtualMillis, failure: undefined }
}
