import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { PlaceQueue, type Queued } from "../../src/internal/stream/placeQueue.ts"
import { Tenants } from "../../src/internal/stream/tenants.ts"
import { parseTenantLimit } from "../../src/services/TenantLimit.ts"
import * as TestConfig from "../../src/testing/TestConfig.ts"
import { seeded } from "../support/seeded.ts"

const settingsOf = (tenants: object) => ({ ...TestConfig.make({}).tenants, ...tenants })

/** Tenants on a clock that the test moves. */
const tenantsOf = (limits: object) => {
  const clock = { millis: 1000 }
  return { clock, tenants: new Tenants(settingsOf(limits), () => clock.millis) }
}

const admit = (tenants: Tenants, tenant: string) => {
  const account = tenants.admit(tenant)
  assert.isFalse("_tag" in account, "is let in")
  return "_tag" in account ? assert.fail() : account
}

const refusal = (tenants: Tenants, tenant: string) => {
  const account = tenants.admit(tenant)
  return "_tag" in account ? account : assert.fail("is refused")
}

describe("A tenant's limits", () => {
  it("are none where nobody set any", () => {
    const { tenants } = tenantsOf({})
    assert.isFalse(tenants.areLimited)
    const account = admit(tenants, "acme")
    account.spend(1e9)
    for (let n = 0; n < 1000; n++) admit(tenants, "acme")
  })

  it("are so many streams at once, and nobody else's", () => {
    const { tenants } = tenantsOf({ max_tenant_streams: 2 })
    const first = admit(tenants, "acme")
    admit(tenants, "acme")
    const { kind, limit, retryAfterMillis } = refusal(tenants, "acme")
    assert.deepStrictEqual([kind, limit, retryAfterMillis], ["streams", 2, undefined])
    admit(tenants, "other")
    first.leave()
    admit(tenants, "acme")
    refusal(tenants, "acme")
  })

  it("are others for those that are named", () => {
    const { tenants } = tenantsOf({
      max_tenant_streams: 1,
      max_tenant_tokens_per_min: 60,
      tenant_limits: ["big one streams=3", "free tokens_per_min=0 streams=0"]
    })
    for (let n = 0; n < 3; n++) admit(tenants, "big one")
    refusal(tenants, "big one")
    for (let n = 0; n < 9; n++) admit(tenants, "free").spend(1000)
    const small = admit(tenants, "small")
    small.spend(60)
    small.leave()
    assert.strictEqual(refusal(tenants, "small").kind, "tokens")
  })

  it("let a tenant come back exactly when its next token may be had", () => {
    const { clock, tenants } = tenantsOf({ max_tenant_tokens_per_min: 60 })
    const account = admit(tenants, "acme")
    account.spend(75)
    // Fifteen are owed, at one a second.
    const { kind, limit, retryAfterMillis } = refusal(tenants, "acme")
    assert.deepStrictEqual([kind, limit, retryAfterMillis], ["tokens", 60, 16_000])
    clock.millis += 15_999
    assert.strictEqual(refusal(tenants, "acme").retryAfterMillis, 1)
    clock.millis += 1
    admit(tenants, "acme")
  })

  it.prop(
    "give no tenant more tokens over any time than its rate, a minute's, and what ran at the time",
    [Schema.Int],
    ([seed]) => {
      const random = seeded(seed)
      const perMinute = 1 + Math.floor(random() * 10_000)
      const { clock, tenants } = tenantsOf({ max_tenant_tokens_per_min: perMinute })
      const began = clock.millis
      let had = 0
      for (let n = 0; n < 300; n++) {
        clock.millis += Math.floor(random() * 2000)
        const account = tenants.admit("acme")
        if ("_tag" in account) continue
        const tokens = Math.floor(random() * 200)
        account.spend(tokens)
        account.leave()
        had += tokens
      }
      assert.isAtMost(had, perMinute + (clock.millis - began) * perMinute / 60_000 + 200)
    }
  )

  it("hold from the next stream on when they are changed, and forgive nothing", () => {
    const settings = settingsOf({ max_tenant_tokens_per_min: 100 })
    const tenants = new Tenants(settings, () => 0)
    admit(tenants, "acme").spend(150)
    settings.max_tenant_tokens_per_min = 120
    assert.strictEqual(refusal(tenants, "acme").retryAfterMillis, 15_500)
    settings.max_tenant_tokens_per_min = 1000
    admit(tenants, "acme")
  })

  it("are as for everybody in what an entry does not name, also when that changes", () => {
    const settings = settingsOf({ max_tenant_tokens_per_min: 100, tenant_limits: ["acme streams=50"] })
    const tenants = new Tenants(settings, () => 0)
    admit(tenants, "acme").spend(100)
    refusal(tenants, "acme")
    settings.max_tenant_tokens_per_min = 1000
    admit(tenants, "acme")
  })

  it("keep no memory of ten thousand tenants that are at rest", () => {
    const { clock, tenants } = tenantsOf({ max_tenant_streams: 1, max_tenant_tokens_per_min: 60 })
    const busy = admit(tenants, "busy")
    for (let n = 0; n < 30_000; n++) {
      const account = admit(tenants, `tenant-${n}`)
      account.leave()
      clock.millis++
    }
    busy.spend(90)
    busy.leave()
    clock.millis += 1000
    assert.strictEqual(refusal(tenants, "busy").kind, "tokens")
  })

  it("are written as one line", () => {
    assert.deepStrictEqual(parseTenantLimit("acme streams=50 tokens_per_min=100000"), {
      tenant: "acme",
      streams: 50,
      tokensPerMinute: 100_000
    })
    assert.deepStrictEqual(parseTenantLimit(" 小 红  tokens_per_min=5"), { tenant: "小 红", tokensPerMinute: 5 })
    for (const wrong of ["acme", "streams=5", "acme streams=-1", "acme streams=5 tokens=4", "acme streams=1.5", ""]) {
      assert.isUndefined(parseTenantLimit(wrong), wrong)
    }
  })
})

/** A stream that notes when it is let in. */
const waiting = (order: Array<string>, tenant: string, priority = 0): Queued => ({
  seat: undefined,
  tenant,
  priority,
  admitted: () => void order.push(`${tenant}${priority}`)
})

describe("Places at the worker, shared fairly", () => {
  const queueOf = (places: number, fair: boolean) =>
    new PlaceQueue({ max_worker_streams: places, max_queued_streams: 1000 }, () => {}, fair)

  it("go to the tenant that has fewest, before priority", () => {
    const order: Array<string> = []
    const queue = queueOf(2, true)
    const flood = Array.from({ length: 6 }, () => waiting(order, "flood"))
    assert.isTrue(queue.tryTake(flood[0]!))
    assert.isTrue(queue.tryTake(flood[1]!))
    for (const stream of flood.slice(2)) queue.enter(stream)
    queue.enter(waiting(order, "quiet", 9))
    queue.enter(waiting(order, "quiet", 5))
    queue.giveBack(flood[0]!)
    assert.deepStrictEqual(order, ["quiet5"])
    queue.giveBack(flood[1]!)
    assert.deepStrictEqual(order, ["quiet5", "flood0"])
  })

  it("go by priority alone where fairness was not asked for", () => {
    const order: Array<string> = []
    const queue = queueOf(1, false)
    const first = waiting(order, "flood")
    queue.tryTake(first)
    queue.enter(waiting(order, "flood", 1))
    queue.enter(waiting(order, "flood", 2))
    queue.enter(waiting(order, "quiet", 3))
    for (let n = 0; n < 3; n++) queue.giveBack(first)
    assert.deepStrictEqual(order, ["flood1", "flood2", "quiet3"])
  })

  it("take turns among equals", () => {
    const order: Array<string> = []
    const queue = queueOf(1, true)
    const first = waiting(order, "a")
    queue.tryTake(first)
    const streams = ["a", "a", "b", "b", "c"].map((tenant) => waiting(order, tenant))
    for (const stream of streams) queue.enter(stream)
    queue.giveBack(first)
    for (let n = 1; n < streams.length; n++) {
      const last = streams.find((stream) => stream.tenant === order.at(-1)?.[0])
      if (last !== undefined) queue.giveBack(last)
    }
    assert.deepStrictEqual(order, ["b0", "c0", "a0", "b0", "a0"])
  })
})
