import { it } from "@effect/vitest"
import { Schema } from "effect"
import { soak } from "../../support/run/soak.ts"
import { playPair } from "./pair.ts"

const seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))

it("two endpoints on a pipe that splits and delays lose nothing, exceed nothing and agree: seeds that once did not", () => {
  // Trailers on a refused stream; more streams than the first SETTINGS allow; END_STREAM in a window below zero.
  for (const found of [11, 53, 94, 200, 242]) playPair(found)
})

it.prop("two endpoints on a pipe that splits and delays lose nothing, exceed nothing and agree", [seed], ([seed]) => {
  playPair(seed)
}, { arbitrary: { runs: soak(500, 30) } })
