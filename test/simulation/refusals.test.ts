import { assert, describe } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { InferenceProxy, MetricReadings, type Status } from "../../src/index.ts"
import { Answer, type ScriptedGateway, type Simulation } from "../../src/testing.ts"
import { assertEnded, assertTrailersOnly, figure, gateway, gateways, pass, story, worker } from "./story.ts"

/** A refusal, its stable reason, and whether it makes sense to come back to this very sidecar. */
interface Refusal {
  readonly reason: string
  readonly code: keyof typeof Status.Code
  readonly retry: "with a retry hint" | "without a retry hint"
  readonly when: string
  readonly given?: Simulation.Options
  /** What happens until the gateway calls. */
  readonly before?: Effect.Effect<unknown, never, Simulation.World | Scope.Scope>
  readonly call?: ScriptedGateway.GatewayOptions
  /** How long until it is refused. Default at once. */
  readonly after?: "1 second"
}

const one = { max_worker_streams: 1, queue_timeout_secs: 1 }
const silent = { worker: { answer: Answer.silence } }
const reloading = Effect.andThen(worker("reload for 1h without eta"), pass("5 seconds"))

const refusals: ReadonlyArray<Refusal> = [
  {
    reason: "worker_disconnected",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "there is no worker",
    before: Effect.andThen(worker("die"), pass("1 second"))
  },
  {
    reason: "worker_unhealthy",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "the worker says that it is not well",
    before: Effect.andThen(worker("healthy = false"), pass("5 seconds"))
  },
  {
    reason: "hold_full",
    code: "RESOURCE_EXHAUSTED",
    retry: "with a retry hint",
    when: "too many wait for a reload",
    given: { config: { reload: { max_held_streams: 0 } } },
    before: reloading
  },
  {
    reason: "hold_timeout",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "a reload takes too long",
    given: { config: { reload: { hold_timeout_secs: 1 } } },
    before: reloading,
    after: "1 second"
  },
  {
    reason: "hold_timeout",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "hold_on_disconnect_secs have passed without a worker",
    given: { config: { reload: { hold_on_disconnect_secs: 1 } } },
    before: Effect.andThen(worker("vanish"), pass("5 seconds")),
    after: "1 second"
  },
  {
    reason: "queue_full",
    code: "RESOURCE_EXHAUSTED",
    retry: "with a retry hint",
    when: "too many wait for a place at the worker",
    given: { ...silent, config: { server: { ...one, max_queued_streams: 1 } } },
    before: gateways(2)
  },
  {
    reason: "queue_timeout",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "no place at the worker came free",
    given: { ...silent, config: { server: one } },
    before: gateways(1),
    after: "1 second"
  },
  {
    reason: "circuit_open",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "the worker keeps failing",
    given: { worker: { answer: Answer.status(13, "broken") }, config: { circuit_breaker: { trip_after: 1 } } },
    before: Effect.andThen(gateways(1), pass("1 second"))
  },
  {
    reason: "too_many_streams",
    code: "RESOURCE_EXHAUSTED",
    retry: "with a retry hint",
    when: "max_concurrent_streams are in flight",
    given: { ...silent, config: { server: { max_concurrent_streams: 3 } } },
    before: gateways(3)
  },
  {
    reason: "draining",
    code: "UNAVAILABLE",
    retry: "with a retry hint",
    when: "the sidecar is being stopped",
    before: Effect.flatMap(InferenceProxy, (proxy) => proxy.drain)
  },
  {
    reason: "metadata_too_large",
    code: "RESOURCE_EXHAUSTED",
    retry: "without a retry hint",
    when: "the metadata would break the worker's connection",
    call: { metadata: { "x-baggage": "x".repeat(8000) } }
  }
]

const counts = (name: string, label: string) =>
  MetricReadings.useSync((readings) =>
    new Map(readings.series(name).map(({ labels, value }) => [labels?.[label], value] as const))
  )

/** Refused calls by their reason. */
const refusalCounts = counts("sidecar_refusals_total", "reason")

/** The streams among them, which are all of them here. */
const refusedStreams = Effect.map(counts("sidecar_stream_outcomes_total", "outcome"), (all) => all.get("refused"))

describe("A refusal", () => {
  for (const { after, before, call, code, given, reason, retry, when } of refusals) {
    story(
      `is ${code} with cy-reason ${reason}, ${retry}, when ${when}`,
      given ?? {},
      Effect.gen(function*() {
        yield* before ?? Effect.void
        const refused = yield* gateway(call)
        if (after === undefined) {
          yield* refused.handled
          assert.strictEqual(refused.seen.endedAt, refused.seen.startedAt)
        } else yield* pass(after)
        assertEnded(refused, code, reason, retry)
        assertTrailersOnly(refused)
        const counted = yield* refusalCounts
        assert.isAbove(counted.get(reason) ?? 0, 0)
        assert.strictEqual(Array.from(counted.values()).reduce((sum, one) => sum + one, 0), yield* refusedStreams)
      })
    )
  }

  story(
    "by a reload with an ETA asks to come back when the reload is over, each gateway a little apart",
    { config: { reload: { max_held_streams: 0 } } },
    Effect.gen(function*() {
      yield* worker("reload for 105s")
      yield* pass("5 seconds")
      const calls = yield* gateways(50)
      yield* Effect.forEach(calls, (call) => call.handled)
      const hints = calls.map(({ seen }) => Number(seen.status?.metadata["grpc-retry-pushback-ms"]))
      for (const hint of hints) {
        assert.isAtLeast(hint, 80_000)
        assert.isAtMost(hint, 120_000)
      }
      assert.isAbove(new Set(hints).size, 40)
      assert.strictEqual(yield* figure("sidecar_requests_failed_total"), 50)
    })
  )
})

describe("hold_on_disconnect_secs", () => {
  story(
    "makes an outage look like a reload: streams wait for the worker",
    { config: { reload: { hold_on_disconnect_secs: 60 } } },
    Effect.gen(function*() {
      yield* worker("die")
      yield* pass("10 seconds")
      const calls = yield* gateways(20)
      yield* pass("30 seconds")
      assert.strictEqual(yield* figure("sidecar_streams_held"), 20)
      yield* worker("come back")
      yield* pass("1 second")
      for (const { seen } of calls) assert.deepStrictEqual(seen.tokens, Answer.tokenTexts(5))
    })
  )
})
