import * as fs from "node:fs"
import * as path from "node:path"
import { expect, it } from "vitest"

const read = (file: string): string => fs.readFileSync(path.join(import.meta.dirname, "../..", file), "utf8")

it("Every key that is a time is played with a year", () => {
  const keys = [...read("sidecar.toml").matchAll(/^#? ?(\w+_secs) = /gm)].map(([, key]) => key).toSorted()
  const played = [...read("test/simulation/longTimes.test.ts").matchAll(/"(\w+_secs)"\]/g)].map(([, key]) => key)
    .toSorted()
  expect(keys.length).toBeGreaterThan(10)
  expect(played).toEqual(keys)
})
