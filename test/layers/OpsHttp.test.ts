import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema, Stream } from "effect"
import { createServer, request as httpRequest } from "node:http"
import { connect } from "node:net"
import { hostname } from "node:os"
import { Script } from "node:vm"
import { expect } from "vitest"
import * as OpsHttpLayer from "../../src/layers/OpsHttp.ts"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import type { BindError } from "../../src/services/GrpcServer.ts"
import { type Admission, InferenceProxy } from "../../src/services/InferenceProxy.ts"
import { OpsHttp } from "../../src/services/OpsHttp.ts"
import { Settings, SidecarConfig } from "../../src/services/SidecarConfig.ts"
import { StatusReport } from "../../src/services/StatusReport.ts"
import { TooManyStreams } from "../../src/services/StreamError.ts"
import { type JournalCondition, UsageJournal } from "../../src/services/UsageJournal.ts"
import { WorkerConnection, WorkerState } from "../../src/services/WorkerConnection.ts"
import { allMetrics } from "../support/allMetrics.ts"

/** What the stub services say; a test changes it while the server runs. */
interface World {
  state: WorkerState
  draining: boolean
  stopping: boolean
  admission: Admission
  /** By default that of a sidecar that is ready only when connected. */
  ready: boolean | undefined
  inFlight: number
  journal: JournalCondition
  healthMetrics: Record<string, string>
}

const connected = WorkerState.Connected({ since: Date.UTC(2026, 0, 2) })

const missing = (detail: string, remedy = "start the worker") =>
  WorkerState.Disconnected({
    since: Date.UTC(2026, 0, 2),
    reason: "SocketMissing",
    detail,
    remedy,
    attempt: 3,
    retryAt: Date.UTC(2026, 0, 2, 0, 1)
  })

const makeWorld = (): World => ({
  state: connected,
  draining: false,
  stopping: false,
  admission: { _tag: "Served" },
  ready: undefined,
  inFlight: 0,
  journal: { _tag: "ok" },
  healthMetrics: {}
})

const settings = (overrides: { readonly port?: number; readonly host?: string; readonly uds?: string } = {}) =>
  Schema.decodeSync(Settings)({
    server: { worker_uds: overrides.uds ?? "unix:///var/run/secret-folder/cy_worker.sock" },
    observability: { metrics_port: overrides.port ?? 0, metrics_host: overrides.host ?? "127.0.0.1" }
  })

const sidecar = (world: World, config = settings()) =>
  OpsHttpLayer.layer.pipe(
    Layer.provideMerge(PromMetrics.layer),
    Layer.provide(Layer.mergeAll(
      Layer.succeed(SidecarConfig, config),
      Layer.mock(WorkerConnection, {
        current: () => world.state,
        changes: Stream.empty,
        link: () => undefined,
        onChange: () => () => undefined,
        retryAfterMillis: () => 0,
        elapsedMillis: () => 0,
        dueInMillis: () => undefined,
        suspect: () => undefined,
        lastHealth: () => ({ healthy: true, metrics: world.healthMetrics })
      }),
      Layer.mock(InferenceProxy, {
        draining: () => world.draining,
        stopping: () => world.stopping,
        onDraining: () => () => undefined,
        admission: () => world.admission,
        ready: () => world.ready ?? (world.state._tag === "Connected" && !world.draining),
        onReady: () => () => undefined,
        inFlight: () => world.inFlight,
        running: () => [],
        kill: () => false
      }),
      Layer.mock(UsageJournal, {
        sidecarId: () => "sidecar",
        opened: () => undefined,
        checkpoint: () => undefined,
        generation: () => 1,
        condition: () => world.journal
      })
    ))
  )

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

const call = (path: string, method = "GET", headers: Readonly<Record<string, string>> = {}) =>
  Effect.gen(function*() {
    const { port } = yield* OpsHttp
    return yield* Effect.callback<Answer, Error>((resume) => {
      const request = httpRequest({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
        const parts: Array<Buffer> = []
        response.on("data", (part: Buffer) => parts.push(part))
        response.on("end", () =>
          resume(Effect.succeed({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(parts).toString("utf8")
          })))
      })
      request.on("error", (error) => resume(Effect.fail(error)))
      request.end()
    })
  })

const json = (path: string) => Effect.map(call(path), ({ body }) => JSON.parse(body))

describe("OpsHttp", () => {
  it.live("serves metrics in the Prometheus format, with what was counted", () =>
    Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.modelTokens("qwen-7b").add(10)
      const { body, headers, status } = yield* call("/metrics")
      assert.strictEqual(status, 200)
      assert.strictEqual(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
      assert.include(body, "\nsidecar_tokens_processed_total 10\n")
    }).pipe(Effect.provide(sidecar(makeWorld()))))

  it.live("serves OpenMetrics to a scraper that asks for it, and the text format to a browser", () =>
    Effect.gen(function*() {
      const asked = yield* call("/metrics", "GET", { accept: "application/openmetrics-text;version=1.0.0,*/*;q=0.1" })
      assert.strictEqual(asked.headers["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8")
      assert.isTrue(asked.body.endsWith("\n# EOF\n"))
      const browser = yield* call("/metrics", "GET", { accept: "text/html,*/*;q=0.8" })
      assert.strictEqual(browser.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
    }).pipe(Effect.provide(sidecar(makeWorld()))))

  it.live("is alive whatever the worker does", () => {
    const world = makeWorld()
    world.state = missing("gone")
    return Effect.gen(function*() {
      const { body, status } = yield* call("/healthz")
      assert.deepStrictEqual([status, body], [200, "ok\n"])
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("is ready only when the worker is connected and the sidecar does not drain", () => {
    const world = makeWorld()
    return Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [WorkerState, boolean, number, string, string | null]> = [
        [connected, false, 200, "connected", null],
        [connected, true, 503, "connected", "Draining"],
        [WorkerState.Connecting({ since: 0, attempt: 2 }), false, 503, "connecting", "Connecting"],
        [WorkerState.Reloading({ since: 0, until: 9000 }), false, 503, "reloading", "Reloading"],
        [missing("gone"), false, 503, "disconnected", "SocketMissing"]
      ]
      for (const [state, draining, code, word, reason] of cases) {
        Object.assign(world, { state, draining })
        const { body, status } = yield* call("/readyz")
        const answer = JSON.parse(body)
        assert.deepStrictEqual([status, answer.ready, answer.status, answer.reason], [
          code,
          code === 200,
          word,
          reason
        ])
      }
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("says why it is not ready, what to do, since when, and when it tries again", () => {
    const admission: Admission = { _tag: "Refused", error: () => new TooManyStreams({ limit: 0 }) }
    const world = { ...makeWorld(), inFlight: 3, state: missing("nobody there"), admission }
    return Effect.gen(function*() {
      expect(yield* json("/readyz")).toEqual({
        ready: false,
        new_streams: "refused",
        held_until: null,
        status: "disconnected",
        reason: "SocketMissing",
        detail: "nobody there",
        remedy: "start the worker",
        since: "2026-01-02T00:00:00.000Z",
        retry_at: "2026-01-02T00:01:00.000Z",
        back_at: null,
        draining: false,
        streams_in_flight: 3,
        journal: { status: "ok", reason: null, detail: null, since: null, unsaved: 0 },
        billing: null
      })
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("stays ready while the journal fails, and says so", () => {
    const world = makeWorld()
    world.journal = {
      _tag: "failing",
      reason: "full",
      detail: "no space left for .sidecar/usage.sqlite",
      since: 0,
      unsaved: 4
    }
    return Effect.gen(function*() {
      const { body, status } = yield* call("/readyz")
      assert.strictEqual(status, 200)
      expect(JSON.parse(body).journal).toEqual({
        status: "failing",
        reason: "full",
        detail: "no space left for …/usage.sqlite",
        since: "1970-01-01T00:00:00.000Z",
        unsaved: 4
      })
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("shows no folder of the machine, on no page", () => {
    const world = makeWorld()
    world.state = missing(
      "ENOENT: /var/run/secret-folder/cy_worker.sock",
      "start it (now unix:///var/run/secret-folder/cy_worker.sock), see '/home/secret-folder/x y/log'"
    )
    world.healthMetrics = { model_path: "/home/secret-folder/qwen" }
    return Effect.gen(function*() {
      for (const path of ["/", "/api/status", "/status.json", "/readyz"]) {
        const { body } = yield* call(path)
        assert.notInclude(body, "secret-folder")
        assert.include(body, "…/cy_worker.sock")
      }
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("answers HEAD without a body, other methods with 405, other paths with 404", () =>
    Effect.gen(function*() {
      for (const path of ["/", "/metrics", "/healthz", "/readyz", "/api/status", "/status.json"]) {
        const head = yield* call(path, "HEAD")
        assert.deepStrictEqual([path, head.status, head.body], [path, 200, ""])
        assert.isAbove(Number(head.headers["content-length"]), 0)
        for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
          const other = yield* call(path, method)
          assert.deepStrictEqual([other.status, other.headers["allow"]], [405, "GET, HEAD"])
        }
      }
      for (const path of ["/nope", "/metrics/", "//", "/../etc/passwd", "/%2e", "/favicon.ico"]) {
        assert.strictEqual((yield* call(path)).status, 404, path)
      }
      assert.strictEqual((yield* call("/readyz?verbose=1")).status, 200)
    }).pipe(Effect.provide(sidecar(makeWorld()))))

  it.live("lets no text of a worker or a gateway become markup or script", () => {
    const world = makeWorld()
    const hostile = "</script><script>alert(1)</script><!--\u2028"
    world.state = missing(hostile, hostile)
    world.healthMetrics = { [hostile]: hostile }
    return Effect.gen(function*() {
      const metrics = yield* allMetrics
      metrics.modelTokens(hostile).add(1)
      const { body, headers } = yield* call("/")
      assert.notInclude(body, "alert(1)</")
      assert.strictEqual(body.split("<script").length, 3)
      assert.notInclude(body, "<!--")
      const [, first = ""] = /<script type="application\/json" id="first">(.*?)<\/script>/s.exec(body) ?? []
      assert.strictEqual(JSON.parse(first).models[0][0], "</script><script>alert(1)</script><!--")
      assert.match(String(headers["content-security-policy"]), /^default-src 'none'; script-src 'sha256-/)
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("is one page without anything from elsewhere, whose script compiles", () =>
    Effect.gen(function*() {
      const { body, headers } = yield* call("/")
      assert.strictEqual(headers["content-type"], "text/html; charset=utf-8")
      assert.deepStrictEqual(
        [...body.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, target]) => target),
        ["data:,", "metrics", "readyz", "api/status", "readyz", "metrics"]
      )
      assert.notMatch(body, /@import|url\(/)
      const [, script = ""] = /<script>(.*?)<\/script>/s.exec(body) ?? []
      assert.isAbove(script.length, 1000)
      assert.instanceOf(new Script(`(async () => {${script}})`), Script)
    }).pipe(Effect.provide(sidecar(makeWorld()))))

  it.live("reports streams, tokens, latency and usage as one document", () => {
    const world = { ...makeWorld(), inFlight: 2 }
    return Effect.gen(function*() {
      const metrics = yield* allMetrics
      for (const outcome of ["completed", "completed", "completed", "worker_lost", "cancelled"] as const) {
        metrics.streamStarted()
        metrics.firstToken(0.05)
        metrics.streamEnded(outcome, 2)
      }
      metrics.modelTokens("qwen-7b").add(70)
      metrics.heldStreams(1)
      metrics.usageRecords("waiting", 6)
      metrics.circuitState("half_open")
      const report = yield* json("/status.json")
      expect(report.streams).toMatchObject({ in_flight: 2, held: 1, total: 5, success: 3, failed: 1, cancelled: 1 })
      expect(report.recent).toMatchObject({ success: 3, failed: 1, cancelled: 1, success_ratio: 0.75 })
      assert.strictEqual(report.tokens.total, 70)
      assert.strictEqual(report.latency.first_token.count, 5)
      assert.isAbove(report.latency.first_token.p50, 0.04)
      assert.isAtMost(report.latency.first_token.p95, 0.06)
      assert.deepStrictEqual(report.models, [["qwen-7b", 70]])
      expect(report.usage).toMatchObject({ waiting: 6, billing: false })
      assert.strictEqual(report.worker.circuit, "half open")
      expect(report.outcomes).toEqual([["completed", 3], ["worker_lost", 1], ["cancelled", 1]])
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("answers /api/status as its schema says, under both names, with numbers as numbers", () => {
    const world = { ...makeWorld(), state: missing("gone"), healthMetrics: { backend: "vllm" } }
    return Effect.gen(function*() {
      for (const path of ["/api/status", "/status.json"]) {
        const report = Schema.decodeUnknownSync(StatusReport, { onExcessProperty: "error" })(yield* json(path))
        expect(report.identity).toEqual({ host: hostname(), pid: process.pid, sidecar_id: "sidecar" })
        assert.isAbove(report.process.rss_bytes, 1e6)
        expect(report.limits).toContainEqual({ name: "max_concurrent_streams", value: 0, limit: 1000 })
        // It is gone since then: what it said is older.
        expect(report.worker.health).toMatchObject({ as_of: "2026-01-02T00:00:00.000Z" })
      }
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("advises no undrain to a sidecar that is stopping", () => {
    const world = { ...makeWorld(), draining: true }
    return Effect.gen(function*() {
      assert.include((yield* json("/readyz")).remedy, "sidecar undrain")
      world.stopping = true
      const { detail, reason, remedy } = yield* json("/readyz")
      assert.strictEqual(reason, "Draining")
      assert.include(detail, "is stopping")
      assert.notInclude(remedy, "undrain")
    }).pipe(Effect.provide(sidecar(world)))
  })

  it.live("tells a busy port in one line, with the key and the remedy", () =>
    Effect.gen(function*() {
      const taken = createServer()
      const port = yield* Effect.acquireRelease(
        Effect.callback<number>((resume) => {
          taken.listen(0, "127.0.0.1", () => {
            const address = taken.address()
            resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
          })
        }),
        () => Effect.sync(() => taken.close())
      )
      const error: BindError = yield* Layer.build(sidecar(makeWorld(), settings({ port }))).pipe(Effect.flip)
      assert.strictEqual(error._tag, "BindError")
      assert.strictEqual(error.reason, "in_use")
      assert.strictEqual(error.key, "[observability] metrics_port")
      assert.strictEqual(
        error.message,
        `metrics port ${port} is in use by another process: ` +
          "stop it or set [observability] metrics_port / SIDECAR_METRICS_PORT"
      )
    }))

  it.live("knows a CY-LLM worker's health server on its port, and says how to move it", () =>
    Effect.gen(function*() {
      const worker = createServer((_, response) => response.end("worker_inflight_requests 0\n"))
      const port = yield* Effect.acquireRelease(
        Effect.callback<number>((resume) => {
          worker.listen(0, "127.0.0.1", () => {
            const address = worker.address()
            resume(Effect.succeed(address === null || typeof address === "string" ? 0 : address.port))
          })
        }),
        () => Effect.sync(() => worker.close())
      )
      const error = yield* Layer.build(sidecar(makeWorld(), settings({ port }))).pipe(Effect.flip)
      assert.strictEqual(error.reason, "in_use")
      assert.strictEqual(
        error.message,
        `metrics port ${port} is in use by the health server of a CY-LLM worker: start that worker with ` +
          "CY_LLM_HEALTH_PORT=19090, or set [observability] metrics_port / SIDECAR_METRICS_PORT"
      )
    }).pipe(Effect.scoped))

  it.live("tells a host that is not of this machine, with its key", () =>
    Effect.gen(function*() {
      const error = yield* Layer.build(sidecar(makeWorld(), settings({ host: "192.0.2.1" }))).pipe(Effect.flip)
      assert.strictEqual(error.reason, "unavailable")
      assert.include(error.message, "[observability] metrics_host")
      assert.notInclude(error.message, "\n")
    }))

  it.live("stops listening when its scope closes, also with a connection that never asks", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(
        Effect.gen(function*() {
          const { port } = yield* OpsHttp
          yield* Effect.callback<void, Error>((resume) => {
            const idle = connect(port, "127.0.0.1", () => {
              idle.write("GET /metrics HTTP/1.1\r\n")
              resume(Effect.void)
            })
            // The server ends it when it stops: that is what is tested.
            idle.on("error", () => undefined)
          })
          return port
        }).pipe(Effect.provide(sidecar(makeWorld())))
      )
      const refused = yield* Effect.callback<string>((resume) => {
        const probe = connect(port, "127.0.0.1")
        probe.on("connect", () => resume(Effect.succeed("connected")))
        probe.on("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code ?? "")))
      })
      assert.strictEqual(refused, "ECONNREFUSED")
    }))
})
