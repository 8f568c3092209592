import { readFileSync } from "node:fs"
import * as path from "node:path"
import { afterAll, assert, describe, it } from "vitest"
import { soak } from "../support/run/soak.ts"
import { mutants } from "./mutants.ts"
import { exploreByCommand, Workshop } from "./workshop.ts"

/** The explorer finds every planted fault within so many runs. */
const RUNS = 2000
/** A copy is like the sources, which the explorer's own test plays far more often. */
const HEALTHY_RUNS = 50
/** Where it begins: a fault that is found from several places is not found by luck. */
const SEEDS = soak([1, 100_000], [1])
/** All of them in the long form; every fourth in the suite that one runs before each commit. */
const PLANTED = soak(mutants, mutants.filter((_, at) => at % 4 === 0))
/** Only for a machine that is very busy: each of these ends at the first failure. */
const PATIENCE = 600_000

describe("The explorer", () => {
  const workshop = new Workshop()
  afterAll(() => workshop.close())

  it("finds nothing in a copy without a fault", async () => {
    assert.deepStrictEqual(await workshop.explore(HEALTHY_RUNS, [1], { edits: [], found: [] }), [{
      runs: HEALTHY_RUNS,
      seed: undefined,
      broken: []
    }])
  }, PATIENCE)

  it("tells on the command line what it has found, with exit code 1", async () => {
    const [mutant] = mutants
    const { exitCode, output } = await exploreByCommand(mutant?.edits ?? [], RUNS)
    assert.strictEqual(exitCode, 1, output)
    assert.match(output, /seed \d+ breaks/)
    assert.isTrue(mutant?.found.some((rule) => output.includes(rule)), output)
  }, PATIENCE)

  it("has faults that can all be planted", () => {
    for (const { edits, name } of mutants) {
      for (const { file, find } of edits) {
        assert.lengthOf(readFileSync(path.join(import.meta.dirname, "../..", file), "utf8").split(find), 2, name)
      }
    }
  })

  for (const mutant of PLANTED) {
    it(`finds a proxy that ${mutant.name}`, async () => {
      const found = await workshop.explore(RUNS, SEEDS, mutant)
      assert.lengthOf(found, SEEDS.length)
      for (const [at, { broken, runs, seed }] of found.entries()) {
        assert.isDefined(seed, `not in ${runs} runs from seed ${SEEDS[at]}; ${broken.join("\n")}`)
      }
    }, PATIENCE)
  }
})
