import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { Timeline } from "../../src/testing.ts"

const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8")
const page = read("docs/testing.md")

/** The code blocks that say which file they are from. */
const blocks = [...page.matchAll(/```ts\n\/\/ (\S+)\n([\s\S]*?)```/g)].map(([, path, code]) => [path!, code!] as const)

/** Every action, by the compiler's word. */
const actions: Record<Timeline.Action["_tag"], true> = {
  Die: true,
  Vanish: true,
  ComeBack: true,
  Replace: true,
  GoAway: true,
  Renew: true,
  Stop: true,
  Hang: true,
  Wake: true,
  Saturate: true,
  Relieve: true,
  Healthy: true,
  HealthFails: true,
  Reload: true,
  Silent: true,
  Slow: true,
  BreakAfter: true,
  BreakLinks: true,
  ResetStreams: true,
  Unreachable: true
}

describe("docs/testing.md", () => {
  it("shows code from files", () => {
    assert.strictEqual(blocks.length, [...page.matchAll(/```ts/g)].length)
  })

  it.each(blocks)("shows %s as it is", (path, code) => {
    const local = read(path).replace(/"(\.\.\/)+src\/testing\.ts"/, "\"cy-llm-sidecar/testing\"")
    assert.strictEqual(code, local)
  })

  it("names every action, and only words that a timeline understands", () => {
    for (const name of Object.keys(actions)) assert.include(page, `\`${name}\``)
    const rows = page.split("\n").filter((line) => /^\| `[^|]+\| `[A-Z]/.test(line))
    const words = rows.flatMap((row) => [...row.split("|")[1]!.matchAll(/`([^`]+)`/g)].map(([, word]) => word!))
    assert.isAtLeast(words.length, 20)
    for (const word of words.filter((word) => word !== "without eta" && word !== "and be gone")) {
      assert.strictEqual(Timeline.parse(`at 1s: ${word}`)._tag, "Success", word)
    }
  })
})
