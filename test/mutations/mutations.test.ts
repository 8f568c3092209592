import { assert, describe, it } from "vitest"
import { mutants } from "./mutants.ts"
import { exploreCopy } from "./workshop.ts"

/** The explorer finds every planted fault within so many runs. */
const RUNS = 2000
/** So many runs of the sources as they are; `npm run simulate` has more. */
const HEALTHY_RUNS = 150
/** Only for a machine that is very busy: each of these ends at the first failure. */
const PATIENCE = 300_000

describe("The explorer", () => {
  it("finds nothing in a copy without a fault", async () => {
    const { exitCode, output } = await exploreCopy([], HEALTHY_RUNS)
    assert.strictEqual(exitCode, 0, output)
    assert.include(output, "every rule holds")
  }, PATIENCE)

  for (const { edits, found, name } of mutants) {
    it(`finds a proxy that ${name}`, async () => {
      const { exitCode, output } = await exploreCopy(edits, RUNS)
      assert.strictEqual(exitCode, 1, output)
      assert.match(output, /seed \d+ breaks/)
      assert.isTrue(found.some((rule) => output.includes(rule)), output)
    }, PATIENCE)
  }
})
