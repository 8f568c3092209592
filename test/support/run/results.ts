import * as fs from "node:fs"
import * as path from "node:path"
import type { JsonTestResults } from "vitest/node"
import { root } from "../node.ts"

/** What one or several runs of vitest came to. */
export interface RunOutcome {
  readonly passed: number
  readonly skipped: number
  /** Names of tests, or of files that could not even be loaded: those are failures without a test. */
  readonly failed: ReadonlyArray<string>
  /** Milliseconds that each file took. */
  readonly files: ReadonlyArray<{ readonly file: string; readonly millis: number }>
}

const nothing: RunOutcome = { passed: 0, skipped: 0, failed: [], files: [] }

/** Reads the file that vitest's JSON reporter has written; a run that left none has neither passed nor failed a test. */
export const outcomeOf = (file: string): RunOutcome => {
  if (!fs.existsSync(file)) return nothing
  const results: JsonTestResults = JSON.parse(fs.readFileSync(file, "utf8"))
  const short = (name: string) => path.relative(root, name)
  return {
    passed: results.numPassedTests,
    skipped: results.numPendingTests + results.numTodoTests,
    failed: results.testResults.flatMap(({ assertionResults, name, status }) => {
      const failed = assertionResults.filter((one) => one.status === "failed")
      if (status === "failed" && failed.length === 0) return [short(name)]
      return failed.map(({ fullName }) => `${short(name)} > ${fullName}`)
    }),
    files: results.testResults.map(({ endTime, name, startTime }) => ({
      file: short(name),
      millis: endTime - startTime
    }))
  }
}
