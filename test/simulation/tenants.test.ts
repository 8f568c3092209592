import { assert, describe } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { Answer } from "../../src/testing.ts"
import {
  assertAnswered,
  assertEnded,
  assertTrailersOnly,
  figure,
  gateway,
  gateways,
  pass,
  records,
  story
} from "./story.ts"

/** A stream of ten seconds. */
const long = Answer.tokens({ tokens: 11, every: "1 second" })
/** A hundred tokens within a second. */
const fast = Answer.tokens({ tokens: 100, every: "10 millis" })

const of = (tenant: string) => ({ request: { tenant } })

describe("Tenants", () => {
  story(
    "have so many streams at once, and each of them its own",
    { worker: { answer: long }, config: { tenants: { max_tenant_streams: 2 } } },
    Effect.gen(function*() {
      const served = yield* gateways(2, () => of("acme"))
      const refused = yield* gateway(of("acme"))
      const other = yield* gateway(of("other"))
      assertEnded(refused, "RESOURCE_EXHAUSTED", "tenant_limit", "with a retry hint")
      assertTrailersOnly(refused)
      yield* pass("11 seconds")
      for (const call of [...served, other]) assertAnswered(call, 11)
      const later = yield* gateway(of("acme"))
      yield* pass("11 seconds")
      assertAnswered(later, 11)
      // Who was refused at the door has no record.
      assert.lengthOf(yield* records, 4)
      assert.strictEqual(yield* figure("sidecar_active_connections"), 0)
    })
  )

  story(
    "come back when their next token may be had, to the millisecond",
    { worker: { answer: fast }, config: { tenants: { max_tenant_tokens_per_min: 60 } } },
    Effect.gen(function*() {
      const first = yield* gateway(of("acme"))
      yield* pass("1 second")
      // What ran is not cut.
      assertAnswered(first, 100)
      const refused = yield* gateway(of("acme"))
      assertEnded(refused, "RESOURCE_EXHAUSTED", "tenant_limit", "with a retry hint")
      const hint = Number(refused.seen.status?.metadata["grpc-retry-pushback-ms"])
      assert.approximately(hint, 40_000, 1000)
      const other = yield* gateway(of("other"))
      yield* pass(Duration.millis(hint - 1))
      assertAnswered(other, 100)
      assertEnded(yield* gateway(of("acme")), "RESOURCE_EXHAUSTED", "tenant_limit", "with a retry hint")
      yield* pass("1 milli")
      const again = yield* gateway(of("acme"))
      yield* pass("1 second")
      assertAnswered(again, 100)
    })
  )

  story(
    "that flood take no more than their share: another's first token comes as if it were alone",
    {
      worker: { answer: long },
      config: {
        server: { max_worker_streams: 4 },
        tenants: { fair_queue: true, tenant_limits: ["flood streams=3"] }
      }
    },
    Effect.gen(function*() {
      const alone = yield* gateway(of("quiet"))
      yield* pass("20 seconds")
      const flood = yield* gateways(200, () => of("flood"))
      assert.strictEqual(flood.filter(({ seen }) => seen.endedAt === undefined).length, 3)
      const beside = yield* gateway(of("quiet"))
      yield* pass("20 seconds")
      assertAnswered(alone, 11)
      assertAnswered(beside, 11)
      const ttft = (yield* records).filter(({ tenant }) => tenant === "quiet").map(({ ttft_ms }) => ttft_ms ?? Infinity)
      assert.lengthOf(ttft, 2)
      assert.isAtMost(ttft[1]!, 1.5 * Math.max(1, ttft[0]!))
    })
  )

  story(
    "have their turn before priority, where the queue is fair",
    { worker: { answer: long }, config: { server: { max_worker_streams: 2 }, tenants: { fair_queue: true } } },
    Effect.gen(function*() {
      const flood = yield* gateways(8, () => ({ request: { tenant: "flood", priority: 1 } }))
      const quiet = yield* gateway({ request: { tenant: "quiet", priority: 9 } })
      yield* pass("11 seconds")
      assert.strictEqual(flood.filter(({ seen }) => seen.endedAt !== undefined).length, 2)
      yield* pass("11 seconds")
      assertAnswered(quiet, 11)
      assert.strictEqual(flood.filter(({ seen }) => seen.endedAt !== undefined).length, 3)
    })
  )

  story(
    "that are held count, too, and give their place back when they give up",
    {
      begins: "at once",
      config: { reload: { hold_on_disconnect_secs: 30 }, tenants: { max_tenant_streams: 1 } },
      worker: { running: false }
    },
    Effect.gen(function*() {
      const held = yield* gateway({ ...of("acme"), cancelAfter: 5000 })
      assertEnded(yield* gateway(of("acme")), "RESOURCE_EXHAUSTED", "tenant_limit", "with a retry hint")
      yield* pass("6 seconds")
      assert.isDefined(held.seen.endedAt)
      const next = yield* gateway(of("acme"))
      yield* pass("31 seconds")
      assertEnded(next, "UNAVAILABLE", "hold_timeout", "with a retry hint")
    })
  )
})
