import { getHeapSpaceStatistics } from "node:v8"
import { assert, describe, it } from "vitest"
import { makeUncommitted } from "../../src/internal/usage/uncommitted.ts"
import { record } from "../suites/usageSupport.ts"

/** Bytes of objects that are too large for a page: arrays of more than a hundred thousand elements. */
const largeObjects = (): number =>
  getHeapSpaceStatistics()
    .filter(({ space_name }) => space_name.includes("large_object"))
    .reduce((sum, { space_used_size }) => sum + space_used_size, 0)

const open = (slot: number) => ({ slot, recordId: `r-${slot}`, startedAt: 0, identity: undefined })

describe("what waits for a commit", () => {
  it("keeps nothing of streams that come and go while the journal cannot be written", () => {
    const uncommitted = makeUncommitted({ session: "s", limit: 1000, recordId: () => "merged", rowAfterMillis: 0 })
    uncommitted.open(open(1))
    // Its fate is unknown: nothing leaves before it.
    uncommitted.group(0, false)
    uncommitted.open(open(2))
    const one = record(1)
    const before = largeObjects()
    for (let slot = 3; slot < 300_000; slot++) {
      uncommitted.open(open(slot))
      uncommitted.close(slot, one, 0)
    }
    assert.isBelow(largeObjects() - before, 1_000_000)
    uncommitted.open(open(300_000))
    uncommitted.commit()
    const group = uncommitted.group(0, false)
    assert.deepStrictEqual(group?.opened.map(({ slot }) => slot), [2, 300_000])
  })
})
