import * as fs from "node:fs"
import * as path from "node:path"
import type { JsonTestResults } from "vitest/node"
import { root } from "../node.ts"

export type TestState = "passed" | "failed" | "skipped"

/** What one or several runs of vitest came to. */
export interface RunOutcome {
  /** By file and full name; what ran several times is there once, and has failed when it has failed once. */
  readonly tests: ReadonlyMap<string, TestState>
  /** The first line of what a failed test, or a file that could not be loaded, said. */
  readonly reasons: ReadonlyMap<string, string>
  /** Milliseconds that each file took, once for each run. */
  readonly files: ReadonlyArray<{ readonly file: string; readonly millis: number }>
}

const stateOf = (status: string): TestState => status === "passed" || status === "failed" ? status : "skipped"

const worst = (one: TestState, other: TestState | undefined): TestState =>
  one === "failed" || other === "failed" ? "failed" : one === "passed" || other === "passed" ? "passed" : "skipped"

/**
 * Reads what vitest's JSON reporter has written. A file that could not even be loaded is a failure without a test, and so is
 * a run that has left no results.
 */
export const outcomeOf = (...results: ReadonlyArray<string>): RunOutcome => {
  const tests = new Map<string, TestState>()
  const reasons = new Map<string, string>()
  const files: Array<{ readonly file: string; readonly millis: number }> = []
  const explain = (name: string, words: string | undefined) => {
    const [line] = (words ?? "").split("\n")
    if (line) reasons.set(name, line)
  }
  const add = (name: string, state: TestState) => tests.set(name, worst(state, tests.get(name)))
  for (const one of results) {
    if (!fs.existsSync(one)) {
      add(`no results in ${path.basename(one)}`, "failed")
      continue
    }
    const { testResults }: JsonTestResults = JSON.parse(fs.readFileSync(one, "utf8"))
    for (const { assertionResults, endTime, message, name, startTime, status } of testResults) {
      const file = path.relative(root, name)
      files.push({ file, millis: endTime - startTime })
      for (const { failureMessages, fullName, status } of assertionResults) {
        add(`${file} > ${fullName}`, stateOf(status))
        explain(`${file} > ${fullName}`, failureMessages?.[0])
      }
      if (status === "failed" && assertionResults.every((test) => test.status !== "failed")) {
        add(file, "failed")
        explain(file, message)
      }
    }
  }
  return { tests, reasons, files }
}

/** The names of those in this state. */
export const namesOf = ({ tests }: RunOutcome, state: TestState): ReadonlyArray<string> =>
  [...tests].filter(([, one]) => one === state).map(([name]) => name)

/** The name of a test, with what it said when it failed. */
export const withReason = ({ reasons }: RunOutcome, name: string): string => {
  const reason = reasons.get(name)
  return reason === undefined ? name : `${name}: ${reason}`
}

/** `N passed, N failed, N skipped`. */
export const countsOf = (outcome: RunOutcome): string =>
  (["passed", "failed", "skipped"] as const).map((state) => `${namesOf(outcome, state).length} ${state}`).join(", ")

/** The files that took longest, with their seconds. */
export const slowest = ({ files }: RunOutcome, count: number): ReadonlyArray<string> =>
  files.toSorted((a, b) => b.millis - a.millis).slice(0, count)
    .map(({ file, millis }) => `${(millis / 1000).toFixed(1).padStart(6)} s  ${file}`)
