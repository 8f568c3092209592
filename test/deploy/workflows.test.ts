import { spawnSync } from "node:child_process"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, it } from "vitest"
import { nodeBinary } from "../support/node.ts"

const at = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const validator = at(".ci/tools/node_modules/@action-validator/cli/cli.mjs")
const files = readdirSync(at(".github/workflows"))

describe("workflows", () => {
  it.skipIf(!existsSync(validator)).each(files)("%s is one (skipped where .ci/tools is not installed)", (file) => {
    const { status, stdout } = spawnSync(nodeBinary, [validator, at(`.github/workflows/${file}`)], { encoding: "utf8" })
    expect([status, stdout]).toEqual([0, ""])
  })

  it.each(files)("%s names files of the repository, and gives its jobs no more than they need", (file) => {
    const text = readFileSync(at(`.github/workflows/${file}`), "utf8")
    const named = Array.from(text.matchAll(/(?:^|\s)((?:\.ci|deploy)\/[\w./-]+)/g), ([, path = ""]) => path)
    expect(named.filter((path) => !existsSync(at(path)))).toEqual([])
    expect(text).toContain("\npermissions: { contents: read }\n")
  })

  it("a release has provenance and an SBOM, of the package and of the image", () => {
    const text = readFileSync(at(".github/workflows/release.yml"), "utf8")
    for (
      const words of [
        "npm publish --provenance",
        "id-token: write",
        "sbom.cdx.json",
        "provenance: mode=max",
        "sbom: true"
      ]
    ) {
      expect(text).toContain(words)
    }
  })
})
