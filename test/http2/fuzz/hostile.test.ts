import { it } from "@effect/vitest"
import { Schema } from "effect"
import { soak } from "../../support/run/soak.ts"
import { playCuts, playHostile } from "./hostile.ts"

const seed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))

it.prop("against a peer that breaks rules an endpoint keeps them, tells every stream its end, and lets nothing grow", [
  seed
], ([seed]) => {
  playHostile(seed)
}, { arbitrary: { runs: soak(1000, 60) } })

it("a peer may open a window before the head that it is for was heard: a seed of this that once was taken for a fault", () => {
  playHostile(1056038722)
})

it.prop("whatever a peer sends, it is the same however the reads cut it", [seed], ([seed]) => {
  playCuts(seed)
}, { arbitrary: { runs: soak(2000, 200) } })
