import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as Prom from "prom-client"
import { expect } from "vitest"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import { MetricReadings } from "../../src/services/MetricReadings.ts"
import { Metrics } from "../../src/services/Metrics.ts"
import { Outcome } from "../../src/services/UsageRecord.ts"
import { WorkerState } from "../../src/services/WorkerConnection.ts"
import { allMetrics } from "../support/allMetrics.ts"

/** The exposition as a map from series (`name{label="value"}`) to its value, as a scraper reads it. */
const parse = (body: string): ReadonlyMap<string, number> =>
  new Map(
    body.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
      const at = line.lastIndexOf(" ")
      return [line.slice(0, at), Number(line.slice(at + 1))]
    })
  )

const scraped = Effect.gen(function*() {
  const metrics = yield* Metrics
  return parse((yield* metrics.scrape).body)
})

const seriesOf = (series: ReadonlyMap<string, number>, name: string) =>
  new Map([...series].filter(([key]) => key === name || key.startsWith(`${name}{`)))

describe("PromMetrics", () => {
  it.effect("shows the nine names of the quick start as 0, without labels, from the first scrape", () =>
    Effect.gen(function*() {
      const series = yield* scraped
      const names = [
        "sidecar_requests_total",
        "sidecar_requests_success_total",
        "sidecar_requests_failed_total",
        "sidecar_request_duration_seconds_count",
        "sidecar_request_duration_seconds_sum",
        "sidecar_tokens_processed_total",
        "sidecar_worker_connection_status",
        "sidecar_worker_connection_errors_total",
        "sidecar_gateway_send_errors_total",
        "sidecar_active_connections"
      ]
      expect(names.map((name) => [name, series.get(name)])).toEqual(names.map((name) => [name, 0]))
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("announces each metric with its help and its type", () =>
    Effect.gen(function*() {
      const { body, contentType } = yield* (yield* Metrics).scrape
      assert.strictEqual(contentType, "text/plain; version=0.0.4; charset=utf-8")
      assert.include(body, "# TYPE sidecar_requests_total counter")
      assert.include(body, "# TYPE sidecar_request_duration_seconds histogram")
      assert.include(body, "# TYPE sidecar_worker_connection_status gauge")
      assert.match(body, /# HELP sidecar_tokens_processed_total \S/)
      assert.isTrue(body.endsWith("\n"))
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("says the same in OpenMetrics, whose families do not clash and whose bounds are canonical", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.streamStarted()
      metrics.streamEnded("completed", 1.5)
      metrics.modelTokens("a\"b\\c\nd").add(3)
      const { body, contentType } = yield* metrics.openMetrics
      assert.strictEqual(contentType, "application/openmetrics-text; version=1.0.0; charset=utf-8")
      assert.isTrue(body.endsWith("\n# EOF\n"))
      assert.notInclude(body, "\n\n")
      const text = yield* scraped
      const open = parse(body)
      const ours = (key: string) => key.startsWith("sidecar_") && !key.includes("le=")
      assert.deepStrictEqual([...open].filter(([key]) => ours(key)), [...text].filter(([key]) => ours(key)))
      assert.strictEqual(open.get("sidecar_request_duration_seconds_bucket{le=\"1.5\"}"), 1)
      assert.strictEqual(open.get("sidecar_request_duration_seconds_bucket{le=\"1.0\"}"), 0)
      assert.strictEqual(open.get("sidecar_stream_overhead_seconds_bucket{le=\"2.5e-05\"}"), 0)
      assert.strictEqual(text.get("sidecar_request_duration_seconds_bucket{le=\"1\"}"), 0)
      const suffixes: Record<string, ReadonlyArray<string>> = {
        counter: ["", "_total", "_created"],
        gauge: [""],
        histogram: ["", "_bucket", "_sum", "_count", "_created"]
      }
      const names = Array.from(
        body.matchAll(/^# TYPE (\S+) (\S+)$/gm),
        ([, name = "", type = ""]) => suffixes[type]!.map((suffix) => name + suffix)
      ).flat()
      assert.deepStrictEqual(names.filter((name, index) => names.indexOf(name) !== index), [])
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("counts every stream as success, failed or cancelled, whatever its outcome", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      for (const outcome of Outcome.literals) {
        metrics.streamStarted()
        metrics.streamEnded(outcome, 1)
      }
      metrics.streamStarted()
      const series = yield* scraped
      assert.strictEqual(series.get("sidecar_requests_success_total"), 1)
      assert.strictEqual(series.get("sidecar_requests_cancelled_total"), 1)
      assert.strictEqual(series.get("sidecar_requests_failed_total"), Outcome.literals.length - 2)
      assert.strictEqual(series.get("sidecar_requests_total"), Outcome.literals.length + 1)
      assert.strictEqual(series.get("sidecar_active_connections"), 1)
      // One that is refused or cut short took less time than it would have: it would make an outage look fast.
      const long = ["completed", "cancelled", "deadline", "timeout", "slow_reader"]
      assert.strictEqual(series.get("sidecar_request_duration_seconds_count"), long.length)
      assert.strictEqual(series.get("sidecar_stream_outcomes_total{outcome=\"deadline\"}"), 1)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("fills cumulative buckets, each up to and including its bound", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      for (const seconds of [0.01, 0.011, 90]) metrics.interToken(seconds)
      const series = yield* scraped
      const bucket = (le: string) => series.get(`sidecar_inter_token_latency_seconds_bucket{le="${le}"}`)
      assert.deepStrictEqual([bucket("0.01"), bucket("0.025"), bucket("80"), bucket("+Inf")], [1, 2, 2, 3])
      assert.strictEqual(series.get("sidecar_inter_token_latency_seconds_count"), 3)
      assert.approximately(series.get("sidecar_inter_token_latency_seconds_sum")!, 90.021, 1e-9)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("shows the worker's status as one number, and as one series per state", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      const seen: Array<unknown> = []
      const states = [
        WorkerState.Connecting({ since: 0, attempt: 1 }),
        WorkerState.Connected({ since: 0 }),
        WorkerState.Reloading({ since: 0, until: undefined }),
        WorkerState.Disconnected({
          since: 0,
          reason: "SocketMissing",
          detail: "",
          remedy: "",
          attempt: 1,
          retryAt: undefined
        })
      ]
      for (const state of states) {
        metrics.workerState(state)
        const series = yield* scraped
        const on = [...seriesOf(series, "sidecar_worker_status")].filter(([, value]) => value === 1)
        assert.strictEqual(seriesOf(series, "sidecar_worker_status").size, 4)
        seen.push([series.get("sidecar_worker_connection_status"), on.map(([key]) => key)])
      }
      assert.deepStrictEqual(seen, [
        [0, ["sidecar_worker_status{state=\"connecting\"}"]],
        [1, ["sidecar_worker_status{state=\"connected\"}"]],
        [2, ["sidecar_worker_status{state=\"reloading\"}"]],
        [0, ["sidecar_worker_status{state=\"disconnected\"}"]]
      ])
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("folds unknown methods and unknown codes, so that no caller can add series", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.handled("/cy.llm.AiInference/StreamPredict", 0)
      metrics.handled("/cy.llm.AiInference/StreamPredict", 14)
      for (let stranger = 0; stranger < 500; stranger++) metrics.handled(`/evil.S${stranger}/M`, 12)
      metrics.handled("/other", 0)
      for (const code of [99, -1, 0.5, Number.NaN]) metrics.handled("/grpc.health.v1.Health/Check", code)
      const handled = seriesOf(yield* scraped, "sidecar_grpc_handled_total")
      assert.deepStrictEqual(
        [...handled].sort(),
        [
          ["sidecar_grpc_handled_total{method=\"cy.llm.AiInference/StreamPredict\",code=\"OK\"}", 1],
          ["sidecar_grpc_handled_total{method=\"cy.llm.AiInference/StreamPredict\",code=\"UNAVAILABLE\"}", 1],
          ["sidecar_grpc_handled_total{method=\"grpc.health.v1.Health/Check\",code=\"OTHER\"}", 4],
          ["sidecar_grpc_handled_total{method=\"other\",code=\"OK\"}", 1],
          ["sidecar_grpc_handled_total{method=\"other\",code=\"UNIMPLEMENTED\"}", 500]
        ].sort()
      )
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("names at most 100 models, then counts the rest as other", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.modelTokens("m0").add(5)
      for (let model = 1; model < 150; model++) metrics.modelTokens(`m${model}`).add(2)
      metrics.modelTokens("x".repeat(10_000)).add(1)
      const models = seriesOf(yield* scraped, "sidecar_model_tokens_total")
      assert.strictEqual(models.size, 101)
      assert.strictEqual(models.get("sidecar_model_tokens_total{model_id=\"m0\"}"), 5)
      assert.strictEqual(models.get("sidecar_model_tokens_total{model_id=\"other\"}"), 101)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("gives a model with tokens the place of one with the fewest, and no token twice", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      const real = metrics.modelTokens("real")
      real.add(50)
      const running = metrics.modelTokens("junk0")
      running.add(1)
      for (let model = 1; model < 100; model++) metrics.modelTokens(`junk${model}`).add(1)
      metrics.modelTokens("new").add(7)
      // It lost its place while its stream ran, and comes back in the place of another.
      running.add(3)
      const named = Effect.map(scraped, (series) => {
        const models = seriesOf(series, "sidecar_model_tokens_total")
        return (name: string) => models.get(`sidecar_model_tokens_total{model_id="${name}"}`)
      })
      const models = yield* named
      assert.deepStrictEqual(["real", "new", "junk0", "other"].map(models), [50, 7, 3, 3])
      // A storm of invented names: few of them become series, and none takes the place of a model with tokens.
      for (let model = 0; model < 1000; model++) metrics.modelTokens(`storm${model}`).add(1)
      const after = yield* named
      assert.deepStrictEqual(["real", "new"].map(after), [50, 7])
      assert.deepStrictEqual([after("storm28"), after("storm999")], [1, undefined])
      assert.strictEqual((yield* metrics.figures)["sidecar_tokens_processed_total"], 50 + 100 + 7 + 3 + 1000)
      // Places come free with time: of those that nobody asks for, whatever they once had.
      yield* TestClock.adjust("61 minutes")
      real.add(1)
      for (let model = 0; model < 20; model++) metrics.modelTokens(`later${model}`).add(1)
      assert.strictEqual((yield* named)("later19"), 1)
      assert.strictEqual((yield* metrics.figures)["sidecar_tokens_processed_total"], 50 + 100 + 7 + 3 + 1000 + 21)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("gives no place among the models to a name that never had a token", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      for (let stranger = 0; stranger < 500; stranger++) metrics.modelTokens(`stranger${stranger}`).add(0)
      const first = metrics.modelTokens("qwen-7b")
      const second = metrics.modelTokens("qwen-7b")
      first.add(4)
      second.add(5)
      const models = seriesOf(yield* scraped, "sidecar_model_tokens_total")
      assert.deepStrictEqual([...models], [["sidecar_model_tokens_total{model_id=\"qwen-7b\"}", 9]])
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("escapes a model name that tries to write lines of its own", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.modelTokens("a\"} 1\nsidecar_requests_total 99\n\\").add(1)
      const { body } = yield* metrics.scrape
      assert.include(body, "model_id=\"a\\\"} 1\\nsidecar_requests_total 99\\n\\\\\"} 1\n")
      assert.strictEqual(parse(body).get("sidecar_requests_total"), 0)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("keeps two sidecars of one process apart, and the global registry empty", () =>
    Effect.gen(function*() {
      const build = Effect.flatMap(
        Layer.build(Layer.fresh(PromMetrics.layer)),
        (context) => Effect.provideContext(allMetrics, context)
      )
      const one = yield* build
      const two = yield* build
      one.modelTokens("qwen-7b").add(7)
      assert.strictEqual(parse((yield* one.scrape).body).get("sidecar_tokens_processed_total"), 7)
      assert.strictEqual(parse((yield* two.scrape).body).get("sidecar_tokens_processed_total"), 0)
      assert.strictEqual(yield* Effect.promise(() => Prom.register.metrics()), "\n")
    }))

  it.effect("has Node's figures under the names that prom-client gives them", () =>
    Effect.gen(function*() {
      const theirs = new Prom.Registry()
      Prom.collectDefaultMetrics({ register: theirs })
      const names = theirs.getMetricsAsArray().map(({ name }) => name)
      const internals = ["nodejs_active_handles", "nodejs_active_requests"].flatMap((name) => [name, `${name}_total`])
      const ours = (yield* (yield* Metrics).scrape).body.matchAll(/^# TYPE (\S+)/gm)
      const found = new Set(Array.from(ours, ([, name]) => name))
      assert.deepStrictEqual(names.filter((name) => !found.has(name) && !internals.includes(name)), [])
      const series = yield* scraped
      assert.isAbove(series.get("process_resident_memory_bytes")!, 1_000_000)
      assert.isAbove(series.get("process_open_fds")!, 0)
      assert.isAbove(series.get("process_cpu_seconds_total")!, 0)
      assert.isAbove(series.get("nodejs_heap_space_size_used_bytes{space=\"old\"}")!, 0)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("says what runs here", () =>
    Effect.gen(function*() {
      const info = [...seriesOf(yield* scraped, "sidecar_build_info")]
      assert.strictEqual(info.length, 1)
      assert.match(info[0]![0], /version="\d+\.\d+\.\d+",node="\d+\.\d+\.\d+",platform="\w+"/)
      assert.strictEqual(info[0]![1], 1)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("gives every figure of its own by name", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.modelTokens("qwen-7b").add(3)
      metrics.modelTokens("llama-3").add(4)
      metrics.firstToken(0.5)
      metrics.firstToken(1.5)
      metrics.heldStreams(2)
      metrics.usageRecords("waiting", 5)
      metrics.usageRecords("open", 1)
      const figures = yield* metrics.figures
      assert.strictEqual(figures["sidecar_tokens_processed_total"], 7)
      assert.strictEqual(figures["sidecar_time_to_first_token_seconds_count"], 2)
      assert.strictEqual(figures["sidecar_time_to_first_token_seconds_sum"], 2)
      assert.strictEqual(figures["sidecar_streams_held"], 2)
      // Places, whose sum says nothing.
      assert.notProperty(figures, "sidecar_usage_records")
      assert.strictEqual(figures["sidecar_usage_records{state=\"waiting\"}"], 5)
      assert.strictEqual(figures["sidecar_worker_status{state=\"connected\"}"], 0)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("moves each of the other figures by its own method only", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      const moves: ReadonlyArray<readonly [() => void, string, number]> = [
        [() => metrics.gatewaySendError(), "sidecar_gateway_send_errors_total", 1],
        [() => metrics.workerReconnected(), "sidecar_worker_reconnects_total", 1],
        [() => metrics.workerSaturated(), "sidecar_worker_saturated_checks_total", 1],
        [() => metrics.workerConnectionError("SocketMissing"), "sidecar_worker_connection_errors_total", 1],
        [() => metrics.queuedStreams(3), "sidecar_streams_queued", 3],
        [() => metrics.replayed(), "sidecar_streams_replayed_total", 1],
        [() => metrics.circuitState("open"), "sidecar_circuit_state", 2],
        [() => metrics.circuitState("half_open"), "sidecar_circuit_state", 1],
        [() => metrics.circuitState("closed"), "sidecar_circuit_state", 0],
        [() => metrics.handled("/x", 0), "sidecar_grpc_handled_total", 1],
        [() => metrics.openCalls("own", 3), "sidecar_open_calls{kind=\"own\"}", 3],
        [() => metrics.limitReached("inflate"), "sidecar_limits_total", 1],
        [() => metrics.unfinishedBytes(9), "sidecar_unfinished_bytes", 9],
        [() => metrics.limits({ max_held_streams: 7 }), "sidecar_limit{name=\"max_held_streams\"}", 7],
        [() => metrics.workerHealth({ vram: "4.5" }), "sidecar_worker_health{name=\"vram\"}", 4.5],
        [() => metrics.holdTime(0.2), "sidecar_hold_time_seconds_count", 1],
        [() => metrics.queueTime(0.2), "sidecar_queue_time_seconds_count", 1],
        [() => metrics.refused("queue_full"), "sidecar_refusals_total", 1],
        [() => metrics.metadataRejected(), "sidecar_metadata_rejected_total", 1],
        [() => metrics.malformedFrame(), "sidecar_malformed_frames_total", 1],
        [() => metrics.opsLimited("pipelined"), "sidecar_ops_limits_total", 1],
        [() => metrics.gatewayConnections(7), "sidecar_gateway_connections", 7],
        [() => metrics.http2Limited("resets"), "sidecar_http2_limits_total", 1],
        [() => metrics.http2SessionClosed("no_error"), "sidecar_http2_sessions_closed_total", 1],
        [() => metrics.streamOverhead(0.001), "sidecar_stream_overhead_seconds_count", 1],
        [() => metrics.cancelPropagated(0.001), "sidecar_cancel_propagation_seconds_count", 1],
        [() => metrics.usageTokens("delivered", 12), "sidecar_usage_tokens{state=\"delivered\"}", 12],
        [() => metrics.usageReport("acknowledged"), "sidecar_usage_reports_total", 1],
        [() => metrics.usageSuspect("large_chunk"), "sidecar_usage_suspect_total", 1],
        [() => metrics.usageLag(4.5), "sidecar_usage_lag_seconds", 4.5],
        [() => metrics.journalError("commit"), "sidecar_journal_errors_total", 1]
      ]
      const also: Record<string, ReadonlyArray<string>> = {
        "sidecar_worker_health{name=\"vram\"}": ["sidecar_worker_health_age_seconds"],
        sidecar_hold_time_seconds_count: ["sidecar_hold_time_seconds_sum"],
        sidecar_queue_time_seconds_count: ["sidecar_queue_time_seconds_sum"],
        sidecar_worker_connection_errors_total: ["sidecar_worker_faults_total"],
        sidecar_stream_overhead_seconds_count: ["sidecar_stream_overhead_seconds_sum"],
        sidecar_cancel_propagation_seconds_count: ["sidecar_cancel_propagation_seconds_sum"]
      }
      for (const [move, name, value] of moves) {
        const before = yield* metrics.figures
        move()
        const after = yield* metrics.figures
        const changed = Object.keys(after).filter((key) => after[key] !== before[key])
        assert.deepStrictEqual(changed.sort(), [name, ...(also[name] ?? [])].sort())
        assert.strictEqual(after[name], value)
      }
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("reads the series behind a sum, by name", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      const readings = yield* MetricReadings
      metrics.usageRecords("waiting", 5)
      metrics.modelTokens("qwen-7b").add(3)
      assert.deepInclude(readings.series("sidecar_usage_records"), { labels: { state: "waiting" }, value: 5 })
      assert.deepStrictEqual(readings.series("sidecar_model_tokens_total"), [{
        labels: { model_id: "qwen-7b" },
        value: 3
      }])
      assert.deepStrictEqual(readings.series("sidecar_request_duration_seconds"), [])
      assert.deepStrictEqual(readings.series("no_such_name"), [])
      assert.strictEqual(readings.distribution("sidecar_requests_total"), undefined)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("shows the figures of the worker's own words, bounded, and none once it is gone", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.workerState(WorkerState.Connected({ since: 0 }))
      const many = Object.fromEntries(Array.from({ length: 80 }, (_, index) => [`figure_${index}`, String(index)]))
      metrics.workerHealth({
        vram_used: "1.5e3",
        temperature: "-4",
        backend: "cuda",
        available: "true",
        hex: "0x10",
        blank: "",
        huge: "9".repeat(400),
        "a name\n": "1",
        ["n".repeat(65)]: "1",
        ...many
      })
      yield* TestClock.adjust("3 seconds")
      const health = Effect.map(scraped, (series) => seriesOf(series, "sidecar_worker_health"))
      const first = yield* health
      assert.strictEqual(first.size, 50)
      assert.strictEqual(first.get("sidecar_worker_health{name=\"vram_used\"}"), 1500)
      assert.strictEqual(first.get("sidecar_worker_health{name=\"temperature\"}"), -4)
      assert.isUndefined(first.get("sidecar_worker_health{name=\"hex\"}"))
      assert.strictEqual((yield* scraped).get("sidecar_worker_health_age_seconds"), 3)
      // New names find no place, those that are known keep theirs.
      metrics.workerHealth({ newcomer: "1", vram_used: "7" })
      assert.deepStrictEqual([...yield* health], [["sidecar_worker_health{name=\"vram_used\"}", 7]])
      metrics.workerState(
        WorkerState.Disconnected({
          since: 0,
          reason: "LinkBroken",
          detail: "",
          remedy: "",
          attempt: 1,
          retryAt: undefined
        })
      )
      assert.strictEqual((yield* health).size, 0)
      assert.strictEqual((yield* scraped).get("sidecar_worker_health_age_seconds"), 0)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("gives an exemplar to the bucket of a stream with a trace, in OpenMetrics only", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
      yield* TestClock.setTime(1_700_000_000_500)
      metrics.firstToken(0.3, trace)
      metrics.firstToken(0.4)
      metrics.holdTime(3, "from-the-request")
      metrics.queueTime(3, "no\nid")
      metrics.streamEnded("deadline", 9000, "x".repeat(101))
      metrics.streamEnded("completed", 9, "\"quoted\"")
      const { body } = yield* metrics.openMetrics
      const exemplars = body.split("\n").filter((line) => line.includes(" # "))
      assert.deepStrictEqual(exemplars, [
        `sidecar_request_duration_seconds_bucket{le="10.0"} 1 # {trace_id="\\"quoted\\""} 9 1700000000.5`,
        `sidecar_time_to_first_token_seconds_bucket{le="0.5"} 2 # {trace_id="${trace}"} 0.3 1700000000.5`,
        `sidecar_hold_time_seconds_bucket{le="5.0"} 1 # {trace_id="from-the-request"} 3 1700000000.5`
      ])
      assert.notInclude((yield* metrics.scrape).body, trace)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("survives a clock that jumped: negative counts as nothing, not-a-number is ignored", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.firstToken(-1)
      metrics.firstToken(Number.NaN)
      const read = (yield* MetricReadings).distribution("sidecar_time_to_first_token_seconds")!
      assert.strictEqual(read.counts[0], 1)
      assert.strictEqual(read.sum, 0)
      assert.strictEqual(read.counts.length, read.bounds.length + 1)
    }).pipe(Effect.provide(PromMetrics.layer)))

  it.effect("tells how late the event loop was", () =>
    Effect.gen(function*() {
      const metrics = Context.get(yield* Layer.build(Layer.fresh(PromMetrics.layer)), Metrics)
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 250)
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 0)))
      // A look was due at most 150 ms after the loop was blocked.
      const lag = parse((yield* metrics.scrape).body).get("nodejs_eventloop_lag_max_seconds") ?? 0
      assert.isAtLeast(lag, 0.05)
    }))

  it.effect("keeps nothing alive once its scope is closed", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Layer.fresh(PromMetrics.layer), scope)
      const metrics = Context.get(context, Metrics)
      yield* metrics.scrape
      yield* Scope.close(scope, Exit.void)
      // Blocks the loop for longer than the time between two looks at it, then lets every timer that still runs fire.
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 0)))
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 20)))
      const lag = parse((yield* metrics.scrape).body).get("nodejs_eventloop_lag_max_seconds")
      assert.strictEqual(lag, 0)
    }))
})
