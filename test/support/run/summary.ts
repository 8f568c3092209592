/** `summary.ts RESULTS...`: what several runs of vitest came to, for `.ci/run`. Its last line has the counts. */
import { countsOf, namesOf, outcomeOf, slowest, withReason } from "./results.ts"

const outcome = outcomeOf(...process.argv.slice(2))
const failed = namesOf(outcome, "failed")
const lines = [
  "the ten slowest files:",
  ...slowest(outcome, 10),
  ...failed.map((name) => `failed: ${withReason(outcome, name)}`),
  countsOf(outcome)
]
process.stdout.write(`${lines.join("\n")}\n`)
process.exitCode = failed.length === 0 ? 0 : 1
