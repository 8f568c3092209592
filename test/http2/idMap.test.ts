import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { expect } from "vitest"
import { IdMap } from "../../src/http2/idMap.ts"
import { seeded } from "../support/seeded.ts"

/** Few enough that they meet, and some that differ in their high bits only. */
const someId = (random: () => number): number => {
  const small = 1 + Math.floor(random() * 40)
  const kind = random()
  return kind < 0.5 ? small : kind < 0.9 ? small << 16 : 1 + Math.floor(random() * (2 ** 31 - 1))
}

describe("streams by their identifiers", () => {
  it.prop("are what a Map would hold, after any steps", [Schema.Int], ([seed]) => {
    const random = seeded(seed)
    const [ours, reference] = [new IdMap<number>(), new Map<number, number>()]
    for (let at = 0; at < 400; at++) {
      const id = someId(random)
      if (random() < 0.55) {
        ours.set(id, at)
        reference.set(id, at)
      } else assert.strictEqual(ours.delete(id), reference.delete(id))
      assert.strictEqual(ours.size, reference.size)
      assert.strictEqual(ours.get(id), reference.get(id))
    }
    for (const [id, value] of reference) assert.strictEqual(ours.get(id), value)
    assert.deepStrictEqual(ours.values(), [...reference].sort(([a], [b]) => a - b).map(([, value]) => value))
  })

  it("grow and shrink with what is in them", () => {
    const map = new IdMap<number>()
    for (let id = 1; id < 20_000; id += 2) map.set(id, -id)
    for (let id = 1; id < 20_000; id += 2) expect(map.get(id)).toBe(-id)
    for (let id = 1; id < 19_990; id += 2) expect(map.delete(id)).toBe(true)
    expect(map.values()).toEqual([-19_991, -19_993, -19_995, -19_997, -19_999])
    expect(map.get(19_989)).toBeUndefined()
  })

  it("stay near where they belong, whatever the map's own number is", () => {
    for (const stride of [2, 16, 32]) {
      for (let seed = 1; seed <= 300; seed++) {
        const map = new IdMap<number>(seeded(seed))
        let looks = 0
        for (let n = 0; n < 500; n++) map.set(1 + n * stride, n)
        for (let n = 0; n < 500; n++) looks += map.looks(1 + n * stride)
        expect(looks / 500, `stride ${stride}, seed ${seed}`).toBeLessThan(8)
      }
    }
  })

  it("answer nothing for an identifier that was never there", () => {
    const map = new IdMap<number>()
    expect(map.get(1)).toBeUndefined()
    expect(map.delete(1)).toBe(false)
    expect(map.values()).toEqual([])
  })
})
