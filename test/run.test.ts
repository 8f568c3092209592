import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { root } from "./support/node.ts"
import { countsOf, namesOf, outcomeOf, slowest, withReason } from "./support/run/results.ts"

type Tests = Readonly<Record<string, string>>

/** A file as vitest's JSON reporter writes it. */
const written = (tests: Tests, status = "passed", millis = 1000): string => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "results-"))
  onTestFinished(() => fs.rmSync(folder, { recursive: true }))
  const file = path.join(folder, "results.json")
  const assertionResults = Object.entries(tests).map(([fullName, status]) => ({
    fullName,
    status,
    failureMessages: status === "failed" ? [`Error: ${fullName} is not\n    at a.test.ts:1`] : []
  }))
  const testResults = [{
    name: path.join(root, "test/a.test.ts"),
    status,
    message: status === "failed" ? "Error: a hook" : "",
    startTime: 0,
    endTime: millis,
    assertionResults
  }]
  fs.writeFileSync(file, JSON.stringify({ testResults }))
  return file
}

describe("the counts of several runs", () => {
  it("have a test that ran twice once", () => {
    const outcome = outcomeOf(written({ one: "passed", two: "passed" }), written({ two: "passed", three: "pending" }))
    expect(countsOf(outcome)).toBe("2 passed, 0 failed, 1 skipped")
  })

  it("have a test as failed that failed in one of them, and as passed that was skipped in one", () => {
    const outcome = outcomeOf(
      written({ one: "failed", two: "skipped" }, "failed"),
      written({ one: "passed", two: "passed" })
    )
    expect(countsOf(outcome)).toBe("1 passed, 1 failed, 0 skipped")
    expect(namesOf(outcome, "failed")).toEqual(["test/a.test.ts > one"])
    expect([...outcome.reasons]).toEqual([["test/a.test.ts > one", "Error: one is not"]])
    expect(withReason(outcome, "test/a.test.ts > one")).toBe("test/a.test.ts > one: Error: one is not")
    expect(withReason(outcome, "no results in soak.json")).toBe("no results in soak.json")
  })

  it("have a file that could not be loaded, or whose hooks failed, as a failure", () => {
    const outcome = outcomeOf(written({}, "failed"))
    expect(countsOf(outcome)).toBe("0 passed, 1 failed, 0 skipped")
    expect([...outcome.reasons]).toEqual([["test/a.test.ts", "Error: a hook"]])
    expect(countsOf(outcomeOf(written({ one: "passed" }, "failed")))).toBe("1 passed, 1 failed, 0 skipped")
  })

  it("have a run without results as a failure", () => {
    expect(namesOf(outcomeOf("/nowhere/node22.json"), "failed")).toEqual(["no results in node22.json"])
  })

  it("come with the slowest files", () => {
    expect(slowest(outcomeOf(written({}, "passed", 1000), written({}, "passed", 2500)), 1)).toEqual([
      "   2.5 s  test/a.test.ts"
    ])
  })
})
