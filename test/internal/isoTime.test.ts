import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { makeIsoTime } from "../../src/internal/usage/isoTime.ts"

const millis = Schema.Int.check(Schema.isBetween({ minimum: -1e12, maximum: 4e12 }))

describe("times in records", () => {
  it.prop("are written as Date writes them, also many of one second and fractions", [millis], ([start]) => {
    const iso = makeIsoTime()
    for (const step of [0, 1, 9, 10, 99, 100, 999, 1000, 0.5, 61_000]) {
      assert.strictEqual(iso(start + step), new Date(Math.floor(start + step)).toISOString())
    }
  })
})
