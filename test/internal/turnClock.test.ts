import { expect, it } from "vitest"
import { turnClock } from "../../src/internal/turnClock.ts"

it("A turn's clock reads its clock once for what runs together", async () => {
  let reads = 0
  const clock = turnClock(() => ++reads)
  expect([clock(), clock(), clock()]).toEqual([1, 1, 1])
  await new Promise(setImmediate)
  expect([clock(), clock()]).toEqual([2, 2])
})
