import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it } from "vitest"

/** Where the whole sidecar answers; what is beneath it sets no reasons. */
const folders = ["conformance", "simulation", "twins", "wire"]
/** The tests' own worker and gateways, without a sidecar. */
const others = new Set(["wire/harness.test.ts"])

/** Codes that the sidecar gives with a reason, and that a library or the worker may give without. */
const CODE =
  /\bcode(?:\)+\.toBe\(|: )(?:4|8|13|14|15)\b|\bcode, (?:Status\.)?Code\.(?:DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|INTERNAL|UNAVAILABLE|DATA_LOSS)\b/
/** `expectBooked` looks for the outcome in metric, record and log. */
const REASON = /cy-|reason|expectBooked|expectRetryHint/i

/** The first lines of tests that assert a code alone. */
const careless = (text: string): ReadonlyArray<string> =>
  text.split(/\n(?=\s*(?:it|twin|story)\b)/).filter((test) => CODE.test(test) && !REASON.test(test))
    .map((test) => test.trim().split("\n")[0] ?? "")

describe("a test that asserts a code", () => {
  it("asserts the reason, too: the same code comes from a hold that timed out, a library's own deadline, a refusal", () => {
    const found = folders.flatMap((folder) =>
      fs.readdirSync(path.join(import.meta.dirname, folder), { recursive: true, encoding: "utf8" })
        .map((name) => path.join(folder, name))
        .filter((name) => name.endsWith(".ts") && !others.has(name))
        .flatMap((name) =>
          careless(fs.readFileSync(path.join(import.meta.dirname, name), "utf8")).map((line) => `${name}: ${line}`)
        )
    )
    expect(found).toEqual([])
  })

  it("is found out when it does not", () => {
    const careful =
      "\n  it(\"b\", () => {\n    expect([status.code, reasonOf(status)]).toEqual([14, \"worker_lost\"])\n  })"
    for (const line of ["expect(status.code).toBe(14)", "assert.strictEqual(call?.code, Code.INTERNAL)"]) {
      expect(careless(`it("a", () => {\n    ${line}\n  })${careful}`)).toEqual(["it(\"a\", () => {"])
    }
  })
})
