import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "vitest"
import { IdMap } from "../../src/http2/idMap.ts"
import { Roster } from "../../src/internal/roster.ts"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const oldMiB = (): number =>
  (getHeapSpaceStatistics().find((space) => space.space_name === "old_space")?.space_used_size ?? Number.NaN) / 2 ** 20

/** MiB that 20,000 objects of 2 KiB, of which 64 are there at a time, leave behind in the old space. */
const leftBehind = (keep: (id: number, value: object) => () => void): number => {
  const leave: Array<() => void> = []
  const churn = (count: number): void => {
    for (let id = 1; id <= count; id++) {
      leave.push(keep(id, Array.from({ length: 256 }, () => id)))
      if (leave.length > 64) leave.shift()?.()
    }
  }
  churn(1000)
  // What is there now becomes old.
  collect()
  const before = oldMiB()
  churn(20_000)
  return oldMiB() - before
}

describe("objects that come and go", () => {
  it("stand where they were put, until they leave", () => {
    const roster = new Roster<string>()
    const [a, b] = [roster.add("a"), roster.add("b")]
    expect(roster.remove(a, "b")).toBe(false)
    expect(roster.remove(a, "a")).toBe(true)
    expect(roster.remove(a, "a")).toBe(false)
    expect(roster.size).toBe(1)
    expect(roster.add("c")).toBe(a)
    expect(roster.has(a, "a")).toBe(false)
    expect(roster.has(b, "b")).toBe(true)
    expect(roster.all()).toEqual(["c", "b"])
  })

  it("are not left behind by a Roster, nor by the streams of a connection", () => {
    const roster = new Roster<object>()
    expect(leftBehind((_, value) => {
      const place = roster.add(value)
      return () => roster.remove(place, value)
    })).toBeLessThan(4)
    const ids = new IdMap<object>()
    expect(leftBehind((id, value) => {
      ids.set(id, value)
      return () => ids.delete(id)
    })).toBeLessThan(4)
  })
})
