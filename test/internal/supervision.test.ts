import { assert, describe, it } from "@effect/vitest"
import * as Supervision from "../../src/internal/connection/supervision.ts"

const { Redial, adopted, asked, dialling, heard, initial, isOutdated, isOvertaken, lost, proved, sessionOf, stopped } =
  Supervision
type Now = Supervision.Supervision<string>

const STABLE = 5000
const atOnce = Redial.Soon({ afterMillis: 0, anew: false })

const dialled = (now: Now = initial, session = "one"): Now => adopted(dialling(now), session, now.address.age)
const up = (at = 1000): Now => proved(dialled(), at)
const lose = (now: Now, at: number, politely = false): Now => lost(now, { at, politely, stableMillis: STABLE })
const redialOf = ({ link }: Now) => link._tag === "Disconnected" ? link.redial : link._tag

describe("the supervision of the connection", () => {
  it("is Disconnected, Pending and Connected, one after the other", () => {
    assert.deepStrictEqual(initial.link, { _tag: "Disconnected", redial: atOnce, toldToGo: false })
    assert.deepStrictEqual(dialled().link, { _tag: "Pending", session: "one", age: 0, toldToGo: false })
    assert.deepStrictEqual(up().link, { _tag: "Connected", session: "one", age: 0, provedAt: 1000 })
    assert.deepStrictEqual([initial, dialled(), up()].map(sessionOf), [undefined, "one", "one"])
    assert.deepStrictEqual([initial, dialled(), up(), lose(up(), 2000)].map((now) => now.proved), [
      false,
      false,
      true,
      true
    ])
  })

  it("proves a link once", () => {
    const now = up()
    assert.strictEqual(proved(now, 7000), now)
    assert.strictEqual(proved(initial, 7000), initial)
  })

  it("dials at once after a link that was up for a while, and begins the schedule anew", () => {
    assert.deepStrictEqual(redialOf(lose(up(1000), 6000)), Redial.Soon({ afterMillis: 0, anew: true }))
  })

  it("waits as the schedule says after a link that was not, and after one that was never proved", () => {
    assert.deepStrictEqual(redialOf(lose(up(1000), 5999)), Redial.Paced())
    assert.deepStrictEqual(redialOf(lose(dialled(), 100_000)), Redial.Paced())
  })

  it("renews a proved link that ends politely however young it is, with a pause below 100 ms", () => {
    assert.deepStrictEqual(redialOf(lose(up(1000), 1100, true)), Redial.Soon({ afterMillis: 0, anew: true }))
    assert.deepStrictEqual(redialOf(lose(up(1000), 1099, true)), Redial.Soon({ afterMillis: 100, anew: true }))
  })

  it("dials at once for the first GOAWAY of a link that was never proved, and not for the next in a row", () => {
    const once = lose(dialled(), 1, true)
    assert.deepStrictEqual(redialOf(once), atOnce)
    const twice = lose(dialled(once), 2, true)
    assert.deepStrictEqual(redialOf(twice), Redial.Paced())
    // A break in between, or a proof, makes it the first one again.
    assert.deepStrictEqual(redialOf(lose(dialled(lose(dialled(twice), 3)), 4, true)), atOnce)
    const renewed = lose(proved(dialled(twice), 3), 4, true)
    assert.deepStrictEqual(redialOf(lose(dialled(renewed), 5, true)), atOnce)
    // To ask for a link does not make it so.
    assert.deepStrictEqual(redialOf(lose(dialled(asked(once)), 2, true)), Redial.Paced())
  })

  it("has nothing to lose without a link", () => {
    assert.strictEqual(lose(initial, 1), initial)
    assert.deepStrictEqual(lose(stopped(up()), 1), stopped(up()))
  })

  it("drops the link and waits no longer when somebody asks for a new one", () => {
    for (const now of [initial, dialled(), up(), lose(up(), 2000)]) {
      assert.deepStrictEqual(redialOf(asked(now)), atOnce)
      // Whoever waits sees that something has changed.
      assert.notStrictEqual(asked(now).link, now.link)
    }
    assert.deepStrictEqual(asked(stopped(up())), stopped(up()))
  })

  it("takes a file that comes back, or another in its place, for another worker", () => {
    const now = up()
    assert.isFalse(isOutdated(now))
    assert.isTrue(isOutdated(heard(now, "replaced")))
    const vanished = heard(now, "vanished")
    assert.isFalse(isOutdated(vanished))
    assert.isFalse(vanished.address.news)
    assert.isTrue(isOutdated(heard(vanished, "appeared")))
    assert.isTrue(isOvertaken(heard(vanished, "appeared"), 0))
    assert.isFalse(isOutdated(adopted(heard(vanished, "appeared"), "two", 1)))
  })

  it("takes no news from a file that appears below a live link, and some without one", () => {
    const now = up()
    assert.strictEqual(heard(now, "appeared"), now)
    const seen = heard(initial, "appeared")
    assert.isTrue(seen.address.news)
    assert.isFalse(isOvertaken(seen, initial.address.age))
    assert.isFalse(dialling(seen).address.news)
    // The link that came of it has heeded it.
    assert.isFalse(adopted(seen, "one", 0).address.news)
  })

  it("does not wait for the schedule when another worker has the address of the link that is lost", () => {
    assert.deepStrictEqual(redialOf(lose(dialling(heard(up(), "replaced")), 1001)), atOnce)
    assert.deepStrictEqual(redialOf(lose(heard(up(), "vanished"), 1001)), Redial.Paced())
  })
})
