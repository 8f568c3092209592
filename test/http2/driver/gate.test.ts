import { assert, describe, it } from "@effect/vitest"
import { Gate, Visitor } from "../../../src/http2/driver/gate.ts"

/** A gate, who came through it, and what it said. */
const open = (maxConnections: number, maxPerAddress: number) => {
  const said: Array<string> = []
  const gate = new Gate({ maxConnections, maxPerAddress }, (limit, address) => said.push(`${limit} ${address}`))
  const dismissed: Array<string> = []
  const come = (name: string, address: string | undefined, leavesAtOnce = true): Visitor | undefined => {
    if (!gate.admits(address)) return undefined
    const visitor = new Visitor(address, () => {
      dismissed.push(name)
      if (leavesAtOnce) gate.left(visitor)
    })
    gate.enter(visitor)
    return visitor
  }
  return { gate, said, dismissed, come }
}

describe("Gate", () => {
  it("dismisses the one that has been idle longest when it is full", () => {
    const { come, dismissed, gate, said } = open(3, 10)
    const first = come("first", "a")!
    come("second", "b")
    come("third", "c")
    gate.busy(first, true)
    assert.isDefined(come("fourth", "d"))
    assert.deepStrictEqual([dismissed, said, gate.size], [["second"], ["connections d"], 3])
    gate.busy(first, false)
    come("fifth", "e")
    come("sixth", "f")
    assert.deepStrictEqual(dismissed, ["second", "third", "fourth"])
  })

  it("turns away who comes when nobody is idle", () => {
    const { come, gate } = open(2, 10)
    for (const name of ["a", "b"]) gate.busy(come(name, name)!, true)
    assert.isUndefined(come("c", "c"))
    assert.strictEqual(gate.size, 2)
  })

  it("lets whoever has a whole share make room for its own, and spares the others", () => {
    const { come, dismissed, said } = open(100, 2)
    come("other", "b")
    come("one", "a")
    come("two", "a")
    assert.isDefined(come("three", "a"))
    assert.deepStrictEqual([dismissed, said], [["one"], ["address_connections a"]])
    assert.isDefined(come("another", "b"))
    assert.deepStrictEqual(dismissed, ["one"])
  })

  it("counts no share for peers without an address", () => {
    const { come, said } = open(100, 1)
    for (let n = 0; n < 5; n++) assert.isDefined(come(`unix ${n}`, undefined))
    assert.deepStrictEqual(said, [])
  })

  it("bounds those that are told to go and do not leave", () => {
    const { come, dismissed, gate } = open(10, 1000)
    let entered = 0
    for (let n = 0; n < 500; n++) if (come(`${n}`, "a", false) !== undefined) entered++
    assert.isAtMost(gate.size, 10 + 64)
    assert.deepStrictEqual([entered, dismissed.length], [10 + 64, 64])
  })

  it("has room again when somebody has left, once only", () => {
    const { come, gate, said } = open(2, 2)
    const one = come("one", "a")!
    come("two", "a")
    gate.left(one)
    gate.left(one)
    gate.busy(one, false)
    assert.isDefined(come("three", "a"))
    assert.deepStrictEqual([said, gate.size], [[], 2])
    assert.isDefined(come("four", "a"))
    assert.deepStrictEqual(said, ["address_connections a"])
  })
})
