import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { mended, tooOld, unmended } from "../../src/cli/nodeVersion.ts"

describe("the version of Node", () => {
  it.each(["20.20.2", "v22.18.0", "18.0.0", "22.6.0"])("%s is too old, which is told in one line", (version) => {
    const line = tooOld(version)
    assert.include(line, "needs Node 22.19.0 or newer")
    assert.include(line, version.replace("v", ""))
    assert.notInclude(line, "\n")
  })

  it.each(["22.19.0", "22.23.5", "24.0.0", "v26.1.0", "27.0.0"])("%s runs", (version) => {
    assert.isUndefined(tooOld(version))
  })

  it.each(["22.19.0", "22.23.4", "23.11.0", "24.21.0", "24.22.2", "25.9.0", "26.13.0"])(
    "%s has known faults in HTTP/2",
    (version) => {
      assert.include(unmended(version), `Node ${version} has known faults`)
    }
  )

  it.each(["22.23.5", "22.24.0", "24.22.3", "24.23.0", "26.13.1", "26.14.0", "27.0.0"])(
    "%s has them mended",
    (version) => {
      assert.isUndefined(unmended(version))
    }
  )

  it("is asked for by package.json as the mended ones", () => {
    const { engines } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
      readonly engines: { readonly node: string }
    }
    const ranges = mended.map((one) => one === mended.at(-1) ? `>=${one}` : `^${one}`)
    assert.strictEqual(engines.node, ranges.join(" || "))
  })
})
