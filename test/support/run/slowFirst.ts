import { BaseSequencer, type TestSpecification } from "vitest/node"

/** What takes longest, in the long forms above all: begun last, it would run on alone while a core has nothing to do. */
const SLOW = ["mutations/mutations.test.ts", "conformance/ccore.test.ts", "simulation/explorer.test.ts"]

/** Where a file stands: the slow ones first, in their order. */
const rank = ({ moduleId }: TestSpecification): number => {
  const at = SLOW.findIndex((name) => moduleId.endsWith(name))
  return at < 0 ? SLOW.length : at
}

/** Vitest's own order (which knows nothing of how long a file takes in a fresh clone), but for {@link SLOW}. */
export class SlowFirst extends BaseSequencer {
  override async sort(files: Array<TestSpecification>): Promise<Array<TestSpecification>> {
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b))
  }
}
