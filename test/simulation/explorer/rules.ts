import * as Foreign from "./foreignRules.ts"
import type { CallEvidence, Evidence, Played } from "./play.ts"
import * as Streams from "./streamRules.ts"
import * as World from "./worldRules.ts"

/** A rule that a run broke. */
export interface Broken {
  readonly rule: string
  readonly detail: string
}

const broken = (rules: ReadonlyArray<Streams.StreamRule>, call: CallEvidence, evidence: Evidence) =>
  rules.flatMap(({ broken, rule }) => {
    const detail = broken(call, evidence)
    return detail === undefined ? [] : [{ rule, detail: `${call.traceId}: ${detail}` }]
  })

/** Every rule that a run broke; none when all is well. */
export const check = (played: Played): ReadonlyArray<Broken> => {
  const { died, evidence } = played
  if (evidence === undefined) return [{ rule: "the run comes to its end", detail: died ?? "no evidence" }]
  return [
    ...World.left(played),
    ...World.all.flatMap(({ broken, rule }) => broken(evidence).map((detail) => ({ rule, detail }))),
    ...[...evidence.calls, ...evidence.late].flatMap((call) => broken(Streams.all, call, evidence)),
    ...evidence.foreign.flatMap((call) => broken(Foreign.all, call, evidence))
  ]
}
