import { describe, expect, it } from "vitest"
import { concat, frame, FrameCutter, payloads } from "../../src/internal/wire/frames.ts"
import { Unfinished } from "../../src/internal/wire/unfinished.ts"
import { UnfinishedBytes } from "../../src/internal/wire/unfinishedBytes.ts"
import type { BudgetHolder } from "../../src/services/MessageBudget.ts"
import { seeded } from "../support/seeded.ts"

const numbered = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31) % 251)

/** Everything that a cutter makes of `wire`, cut into chunks of the lengths that `next` gives. */
const cutInto = (wire: Uint8Array, next: () => number, limit = 1e9) => {
  const cutter = new FrameCutter(limit)
  const out: Array<Uint8Array> = []
  for (let at = 0; at < wire.length;) {
    const length = Math.max(1, next())
    const batch = cutter.push(wire.subarray(at, at + length))
    if (batch !== undefined) out.push(batch)
    at += length
  }
  expect(cutter.pending).toBe(0)
  return out
}

describe("a message that comes in pieces", () => {
  it("is the same in pieces of any size, with its neighbours", () => {
    const chance = seeded(7)
    const sizes = [0, 1, 4, 5, 255, 256, 257, 5000, 65_531, 65_536, 200_000, 700_001]
    const wire = concat([...sizes, ...sizes.toReversed()].map((size) => frame(numbered(size), size % 2 === 1)))
    for (const most of [1, 7, 100, 4096, 16_384, 70_000, 1_000_000]) {
      const batches = cutInto(wire, most === 1 ? () => 1 : () => Math.ceil(chance() * most))
      expect(Buffer.compare(concat(batches), wire)).toBe(0)
    }
  })

  it("weighs what has come of it: neither its chunks as objects, nor what it announces", () => {
    const unfinished = new Unfinished()
    const wire = frame(numbered(1_000_000))
    const announced = Uint8Array.from(wire)
    new DataView(announced.buffer).setUint32(1, 100_000_000)
    globalThis.gc?.()
    const before = process.memoryUsage()
    for (let at = 0; at < announced.length; at++) unfinished.push(announced.subarray(at, at + 1))
    const after = process.memoryUsage()
    expect(unfinished.size).toBe(announced.length)
    expect(unfinished.need).toBe(100_000_005)
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(2_500_000)
  })

  it("does not hold on to the read that it came in", () => {
    const cutter = new FrameCutter(1000)
    const read = new Uint8Array(65_536)
    read.set(frame(numbered(100)))
    expect(cutter.push(read.subarray(0, 50))).toBeUndefined()
    const batch = cutter.push(read.subarray(50, 105))
    expect(batch?.buffer.byteLength).toBeLessThan(1024)
    expect(payloads(batch ?? new Uint8Array()).map((payload) => Uint8Array.from(payload))).toEqual([numbered(100)])
  })

  it("announces too much, however its prefix is cut, and is given up", () => {
    for (let cut = 1; cut < 5; cut++) {
      const cutter = new FrameCutter(10)
      const wire = frame(numbered(11))
      cutter.push(wire.subarray(0, cut))
      expect(cutter.push(wire.subarray(cut))).toBeUndefined()
      expect(cutter.oversize).toBe(11)
      expect(cutter.pending).toBe(0)
    }
  })
})

describe("the budget of messages that are not whole", () => {
  const LARGE = 100_000
  class Holder implements BudgetHolder {
    room = 0
    overdue = 0
    onRoom(): void {
      this.room++
    }
    onOverdue(): void {
      this.overdue++
    }
  }
  const make = (limit: number) => {
    const told = { bytes: 0, full: 0 }
    const budget = new UnfinishedBytes({
      limit,
      onBytes: (bytes) => {
        told.bytes = bytes
      },
      onFull: () => void told.full++
    })
    const call = () => {
      const holder = new Holder()
      return { holder, share: budget.share(holder) }
    }
    return { budget, told, call }
  }

  it("counts the bytes of all calls and gives them back", () => {
    const { budget, call, told } = make(1_000_000)
    const [a, b] = [call(), call()]
    a.share.hold(10)
    b.share.hold(20)
    a.share.hold(15)
    expect(told.bytes).toBe(35)
    a.share.hold(0)
    b.share.hold(0)
    expect([told.bytes, budget.bytes, told.full]).toEqual([0, 0, 0])
  })

  it("lets one large message after the other go on when it is used up, in their order, and holds up no small one", () => {
    const { call, told } = make(2 * LARGE)
    const large = [call(), call(), call(), call()]
    for (const one of large) one.share.hold(LARGE)
    expect(large.map(({ share }) => share.mayRead())).toEqual([true, false, false, false])
    const small = call()
    small.share.hold(1000)
    expect(small.share.mayRead()).toBe(true)
    expect(told.full).toBe(3)
    // The first becomes whole: the second goes ahead.
    large[0]?.share.hold(0)
    expect(large.map(({ holder }) => holder.room)).toEqual([0, 1, 0, 0])
    expect([large[1], large[2]].map((one) => one?.share.mayRead())).toEqual([true, false])
    // A call that waits leaves: there is room for all.
    small.share.hold(0)
    large[3]?.share.hold(0)
    expect(large.map(({ holder }) => holder.room)).toEqual([0, 1, 1, 0])
    expect(large[2]?.share.mayRead()).toBe(true)
  })

  it("ends a large message that is still not whole after so many looks, only while the budget is used up", () => {
    const { budget, call } = make(2 * LARGE)
    const idle = call()
    idle.share.hold(2 * LARGE)
    for (let n = 0; n < 100; n++) budget.look(30)
    expect(idle.holder.overdue).toBe(0)
    const [next, small] = [call(), call()]
    next.share.hold(LARGE)
    small.share.hold(1000)
    budget.look(30)
    expect([idle, next, small].map(({ holder }) => holder.overdue)).toEqual([1, 0, 0])
    idle.share.hold(0)
    budget.look(0)
    expect([next.holder.overdue, small.holder.overdue]).toEqual([0, 0])
  })

  it("is given back by a cutter when its message is whole, given up, or too large", () => {
    const { budget, call } = make(LARGE)
    const wire = frame(numbered(50))
    const cutter = () => new FrameCutter(100, { budget, holder: call().holder })
    const whole = cutter()
    whole.push(wire.subarray(0, 30))
    expect(budget.bytes).toBe(30)
    whole.push(wire.subarray(30))
    expect(budget.bytes).toBe(0)
    const left = cutter()
    left.push(wire.subarray(0, 3))
    expect(budget.bytes).toBe(3)
    left.drop()
    expect(budget.bytes).toBe(0)
    const large = cutter()
    large.push(frame(numbered(101)).subarray(0, 4))
    large.push(frame(numbered(101)).subarray(4))
    expect([budget.bytes, large.oversize]).toEqual([0, 101])
  })
})
