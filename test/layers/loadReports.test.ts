import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { makeLoadReports } from "../../src/internal/handlers/loadReport.ts"
import * as HealthReadings from "../../src/internal/metrics/healthReadings.ts"
import * as LimitLog from "../../src/layers/LimitLog.ts"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import * as SidecarRoutesLayer from "../../src/layers/SidecarRoutes.ts"
import { type CallRoutes, SidecarRoutes } from "../../src/services/GrpcServer.ts"
import { Code } from "../../src/services/Status.ts"
import { complete, FakeCall, serve } from "../support/fakeCall.ts"
import { disconnected, settings, World } from "../support/fakeServices.ts"
import { loadReportRequest, readLoadReport } from "../support/orca.ts"

const PREDICT = "/cy.llm.AiInference/StreamPredict"
const STREAM = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"

/** A sidecar of which every figure can be set. */
const source = () => {
  const state = {
    at: 0,
    inFlight: 0,
    capacity: 10,
    serving: true,
    totals: new Map<string, number>(),
    worker: {} as Record<string, string>
  }
  const health = HealthReadings.make()
  return {
    state,
    reports: makeLoadReports({
      now: () => state.at,
      inFlight: () => state.inFlight,
      capacity: () => state.capacity,
      serving: () => state.serving,
      total: (name) => state.totals.get(name) ?? 0,
      worker: () => {
        health.set(state.worker)
        return health.read()
      }
    })
  }
}

const trailerOf = (reports: ReturnType<typeof makeLoadReports>): string =>
  String(reports.trailer("bin")["endpoint-load-metrics-bin"])

describe("a load report", () => {
  it("says how full the sidecar is, and what streams and the worker do", () => {
    const { reports, state } = source()
    state.at = 5000
    state.inFlight = 12
    state.totals = new Map([
      ["sidecar_requests_success_total", 20],
      ["sidecar_requests_failed_total", 5],
      ["sidecar_tokens_processed_total", 1000],
      ["sidecar_streams_held", 1],
      ["sidecar_streams_queued", 2]
    ])
    state.worker = { backend: "vllm", kv_cache_usage_perc: "0.25", num_requests_waiting: "3", max_lora: "4" }
    const report = readLoadReport(reports.bytes())
    assert.deepStrictEqual({ ...report, rps: undefined, memUtilization: undefined, requestCost: undefined }, {
      cpuUtilization: 0,
      rps: undefined,
      memUtilization: undefined,
      requestCost: undefined,
      applicationUtilization: 1.2,
      rpsFractional: 5,
      eps: 1,
      utilization: { "worker.kv_cache_usage_perc": 0.25 },
      namedMetrics: {
        in_flight: 12,
        held: 1,
        queued: 2,
        tokens_per_second: 200,
        "worker.kv_cache_usage_perc": 0.25,
        "worker.num_requests_waiting": 3,
        "worker.max_lora": 4
      }
    })
    assert.deepStrictEqual(readLoadReport(Buffer.from(trailerOf(reports), "base64")), report)
  })

  it("is full when a stream that came now would not be served", () => {
    const { reports, state } = source()
    assert.strictEqual(readLoadReport(reports.bytes()).applicationUtilization, 0)
    state.at = 200
    state.serving = false
    assert.strictEqual(readLoadReport(reports.bytes()).applicationUtilization, 1)
  })

  it("has the rates of the last ten seconds", () => {
    const { reports, state } = source()
    const rates: Array<number> = []
    for (let second = 1; second <= 30; second++) {
      state.at = second * 1000
      // Ten streams a second for ten seconds, and none after that.
      state.totals = new Map([["sidecar_requests_success_total", Math.min(10, second) * 10]])
      rates.push(readLoadReport(reports.bytes()).rpsFractional)
    }
    assert.strictEqual(rates[4], 10)
    assert.strictEqual(rates[14], 5)
    assert.strictEqual(rates[29], 0)
  })

  it("is made at most ten times a second, whoever asks", () => {
    const { reports, state } = source()
    const [first, bytes] = [reports.trailer("bin"), reports.bytes()]
    state.at = 99
    state.inFlight = 7
    assert.strictEqual(reports.trailer("bin"), first)
    assert.strictEqual(reports.bytes(), bytes)
    state.at = 100
    assert.notStrictEqual(reports.trailer("bin"), first)
    assert.strictEqual(readLoadReport(reports.bytes()).namedMetrics["in_flight"], 7)
  })

  it("fits into trailers, whatever a worker says of itself", () => {
    const { reports, state } = source()
    for (let n = 0; n < 1000; n++) state.worker[`figure_${n}_${"x".repeat(60)}`.slice(0, 64)] = String(n)
    state.worker["kv_cache_usage_perc"] = "0.5"
    assert.isBelow(trailerOf(reports).length, 2500)
    const { namedMetrics } = readLoadReport(reports.bytes())
    assert.strictEqual(Object.keys(namedMetrics).length, 4 + 16)
  })

  it("can be had in words", () => {
    const { reports, state } = source()
    state.inFlight = 5
    state.worker = { kv_cache_usage_perc: "0.5" }
    assert.strictEqual(
      reports.trailer("text")["endpoint-load-metrics"],
      "TEXT application_utilization=0.5, rps_fractional=0, eps=0, utilization.worker.kv_cache_usage_perc=0.5, " +
        "named_metrics.in_flight=5, named_metrics.held=0, named_metrics.queued=0, named_metrics.tokens_per_second=0, " +
        "named_metrics.worker.kv_cache_usage_perc=0.5"
    )
    const json = String(reports.trailer("json")["endpoint-load-metrics"])
    assert.match(json, /^JSON \{/)
    assert.strictEqual(JSON.parse(json.slice(5)).named_metrics.in_flight, 5)
  })
})

const withRoutes = <E>(
  run: (world: World, routes: CallRoutes) => Effect.Effect<void, E>,
  server: Readonly<Record<string, unknown>> = {}
) => {
  const world = new World()
  const layer = SidecarRoutesLayer.layer.pipe(
    Layer.provide(LimitLog.layer),
    Layer.provideMerge(Layer.merge(world.layer(settings({ server })), PromMetrics.layer))
  )
  return SidecarRoutes.use((routes) => run(world, routes)).pipe(Effect.provide(layer))
}

const handlerOf = (routes: CallRoutes, path: string) => routes.routes.get(path) ?? routes.fallback

describe("a stream's trailers", () => {
  const trailers = (server: Readonly<Record<string, unknown>>, metadata: Record<string, string>) => {
    let found: Readonly<Record<string, unknown>> = {}
    return Effect.map(
      withRoutes((_world, routes) =>
        Effect.gen(function*() {
          const call = new FakeCall(PREDICT, { metadata }).send(new Uint8Array()).halfClose()
          found = (yield* complete(handlerOf(routes, PREDICT), call)).metadata
        }), server),
      () => found
    )
  }

  it.effect.each(
    [
      ["asked", {}, []],
      ["asked", { "endpoint-load-metrics-format": "BIN" }, ["endpoint-load-metrics-bin"]],
      ["asked", { "endpoint-load-metrics-format": "text" }, ["endpoint-load-metrics"]],
      ["asked", { "endpoint-load-metrics-format": "JSON" }, ["endpoint-load-metrics"]],
      ["always", {}, ["endpoint-load-metrics-bin"]],
      ["always", { "endpoint-load-metrics-format": "JSON" }, ["endpoint-load-metrics"]],
      ["off", { "endpoint-load-metrics-format": "BIN" }, []]
    ] as const
  )("have a report where one is wanted: %s, %o", ([load_reports, metadata, names]) =>
    Effect.gen(function*() {
      assert.deepStrictEqual(Object.keys(yield* trailers({ load_reports }, { ...metadata })), [...names])
    }))
})

describe("OpenRcaService", () => {
  const open = (
    routes: CallRoutes,
    request: Uint8Array,
    options: { readonly peer?: string; readonly capacity?: number } = {}
  ) =>
    Effect.gen(function*() {
      const call = new FakeCall(STREAM, options).send(request).halfClose()
      return { call, fiber: yield* serve(handlerOf(routes, STREAM), call) }
    })

  it.effect("sends a report at once and then one each interval, of a second at least", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const five = yield* open(routes, loadReportRequest(5))
        const soon = yield* open(routes, loadReportRequest(0, 1_000_000))
        const any = yield* open(routes, new Uint8Array())
        const counts = () => [five, soon, any].map(({ call }) => call.replies.length)
        assert.deepStrictEqual(counts(), [1, 1, 1])
        yield* TestClock.adjust(999)
        assert.deepStrictEqual(counts(), [1, 1, 1])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(counts(), [1, 2, 2])
        world.become(disconnected)
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual(counts(), [2, 6, 6])
        const [before, after] = five.call.replies.map((reply) => readLoadReport(reply).applicationUtilization)
        assert.isBelow(before!, 1)
        assert.strictEqual(after, 1)
        yield* Fiber.interruptAll([five.fiber, soon.fiber, any.fiber])
      })
    ))

  it.effect("waits for a caller that does not read", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* open(routes, loadReportRequest(1), { capacity: 1 })
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(call.replies.length, 1)
        call.read()
        yield* TestClock.adjust("1 second")
        assert.strictEqual(call.replies.length, 2)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it.effect("has 64 calls of one connection, and room for others", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const greedy = yield* Effect.forEach(
          Array.from({ length: 65 }),
          () => open(routes, loadReportRequest(5), { peer: "10.0.0.2:1" })
        )
        const one = yield* open(routes, loadReportRequest(5), { peer: "10.0.0.3:1" })
        const refused = greedy.filter(({ call }) => call.ended !== undefined)
        assert.deepStrictEqual(
          refused.map(({ call }) => [call.ended?.code, call.ended?.metadata["cy-reason"]]),
          [[Code.RESOURCE_EXHAUSTED, "too_many_calls"]]
        )
        assert.strictEqual(one.call.replies.length, 1)
        yield* Fiber.interruptAll([...greedy, one].map(({ fiber }) => fiber))
        const again = yield* open(routes, loadReportRequest(5), { peer: "10.0.0.2:1" })
        assert.isUndefined(again.call.ended)
        yield* Fiber.interrupt(again.fiber)
      })
    ))

  it.effect("ends with the drain", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* open(routes, loadReportRequest(5))
        world.drain(true)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual([call.ended?.code, call.ended?.metadata["cy-reason"]], [Code.UNAVAILABLE, "draining"])
        assert.strictEqual(world.listeners, 0)
      })
    ))

  it.effect("is not there when it is turned off", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* open(routes, loadReportRequest(5))
        yield* Fiber.join(fiber)
        assert.strictEqual(call.ended?.code, Code.UNIMPLEMENTED)
        assert.match(call.ended?.message ?? "", /\[server\] load_reports/)
      }), { load_reports: "off" }))
})
