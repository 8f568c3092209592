import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Layer, Logger, Queue, Schema, type Scope } from "effect"
import { createServer } from "node:http"
import { expect } from "vitest"
import { formatTraceParent, parseTraceParent } from "../../src/internal/ops/traceparent.ts"
import * as Tracing from "../../src/layers/Tracing.ts"
import { Settings, SidecarConfig } from "../../src/services/SidecarConfig.ts"
import { StreamTracer } from "../../src/services/StreamTracer.ts"
import { noReplies, type UsageTally } from "../../src/services/UsageMeter.ts"

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
const parentId = "00f067aa0ba902b7"
const sampledParent = { traceparent: `00-${traceId}-${parentId}-01` }

const tally = (over: Partial<UsageTally> = {}): UsageTally => ({
  recordId: "0197",
  startedAt: 0,
  identity: {
    traceId: "game-42",
    modelId: "qwen-7b",
    adapter: "",
    tenant: "acme",
    playerId: "secret-player",
    promptChars: 3,
    priority: 0
  },
  ...noReplies(),
  chunks: 12,
  bytes: 100,
  workerTokens: undefined,
  promptTokens: undefined,
  doubtedTokens: undefined,
  doubtedPrompt: undefined,
  replays: 1,
  heldMillis: 250,
  ttftMillis: 80,
  ...over
})

const completed = { outcome: "completed", grpcStatus: 0 } as const

const Attributes = Schema.Array(Schema.Struct({
  key: Schema.String,
  value: Schema.Struct({ stringValue: Schema.optionalKey(Schema.String), intValue: Schema.optionalKey(Schema.String) })
}))

const Span = Schema.Struct({
  traceId: Schema.String,
  spanId: Schema.String,
  parentSpanId: Schema.optionalKey(Schema.String),
  name: Schema.String,
  kind: Schema.Int,
  startTimeUnixNano: Schema.String,
  endTimeUnixNano: Schema.String,
  attributes: Attributes,
  status: Schema.Struct({ code: Schema.Int, message: Schema.optionalKey(Schema.String) })
})

/** The part of OTLP's trace request that a collector reads, exactly. */
const ExportRequest = Schema.Struct({
  resourceSpans: Schema.Tuple([
    Schema.Struct({
      resource: Schema.Struct({ attributes: Attributes }),
      scopeSpans: Schema.Tuple([
        Schema.Struct({
          scope: Schema.Struct({ name: Schema.String, version: Schema.String }),
          spans: Schema.Array(Span)
        })
      ])
    })
  ])
})

const decode = Schema.decodeUnknownSync(ExportRequest, { onExcessProperty: "error" })

interface Request {
  readonly path: string
  readonly type: string
  readonly body: typeof ExportRequest.Type
}

/** A collector on a free port that answers as `answer` says, and what it got. */
const collector = (answer: () => number): Effect.Effect<
  { readonly url: string; readonly requests: Queue.Queue<Request> },
  never,
  Scope.Scope
> =>
  Effect.gen(function*() {
    const requests = yield* Queue.unbounded<Request>()
    const server = createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        Queue.offerUnsafe(requests, {
          path: request.url ?? "",
          type: request.headers["content-type"] ?? "",
          body: decode(JSON.parse(Buffer.concat(parts).toString("utf8")))
        })
        const status = answer()
        if (status > 0) response.writeHead(status).end("{}")
      })
    })
    const port = yield* Effect.callback<number>((resume) => {
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
      })
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
    )
    return { url: `http://127.0.0.1:${port}`, requests }
  })

const traced = (endpoint: string | undefined) =>
  Tracing.layer.pipe(
    Layer.provide(Layer.succeed(
      SidecarConfig,
      Schema.decodeSync(Settings)({
        observability: endpoint === undefined ? {} : { otlp_endpoint: endpoint }
      })
    ))
  )

const spansOf = (request: Request) => request.body.resourceSpans[0].scopeSpans[0].spans

const attributes = (span: typeof Span.Type | undefined): Record<string, unknown> =>
  Object.fromEntries(span?.attributes.map(({ key, value }) => [key, value.stringValue ?? value.intValue]) ?? [])

describe("Tracing", () => {
  it.live("exports a span below the gateway's, with model, tokens, outcome and time to first token", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* collector(() => 200)
      const header = yield* Effect.gen(function*() {
        const span = (yield* StreamTracer).start(sampledParent)
        span.end(tally(), completed)
        span.end(tally({ workerTokens: 99 }), { outcome: "failed", grpcStatus: 13 })
        return span.traceparent
      }).pipe(Effect.provide(traced(url)))
      const request = yield* Queue.take(requests)
      assert.strictEqual(request.path, "/v1/traces")
      assert.strictEqual(request.type, "application/json")
      const spans = spansOf(request)
      assert.strictEqual(spans.length, 1)
      const span = spans[0]!
      expect(span).toMatchObject({
        traceId,
        parentSpanId: parentId,
        name: "cy.llm.AiInference/StreamPredict",
        kind: 2,
        status: { code: 1 }
      })
      assert.strictEqual(header, `00-${traceId}-${span.spanId}-01`)
      assert.isTrue(BigInt(span.endTimeUnixNano) >= BigInt(span.startTimeUnixNano))
      expect(attributes(span)).toMatchObject({
        "rpc.system": "grpc",
        "rpc.grpc.status_code": "0",
        "gen_ai.request.model": "qwen-7b",
        "gen_ai.usage.output_tokens": "12",
        "cy.outcome": "completed",
        "cy.trace_id": "game-42",
        "cy.ttft_ms": "80",
        "cy.held_ms": "250",
        "cy.replays": "1"
      })
      assert.notInclude(JSON.stringify(request.body), "secret-player")
      expect(request.body.resourceSpans[0].resource.attributes[0]).toEqual({
        key: "service.name",
        value: { stringValue: "cy-llm-sidecar" }
      })
    }))

  it.live("begins a trace of its own where the gateway has none", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* collector(() => 200)
      yield* Effect.gen(function*() {
        const tracer = yield* StreamTracer
        tracer.start({}).end(tally({ identity: undefined, ttftMillis: undefined }), completed)
        tracer.start({ traceparent: "not one" }).end(tally(), { outcome: "worker_lost", grpcStatus: 14 })
        tracer.start({}).end(tally(), { outcome: "cancelled", grpcStatus: 1 })
      }).pipe(Effect.provide(traced(`${url}/v1/traces`)))
      const request = yield* Queue.take(requests)
      assert.strictEqual(request.path, "/v1/traces")
      const spans = spansOf(request)
      assert.strictEqual(new Set(spans.map((span) => span.traceId)).size, 3)
      assert.isTrue(spans.every((span) => /^[\da-f]{32}$/.test(span.traceId) && span.parentSpanId === undefined))
      assert.deepStrictEqual(spans.map((span) => span.status), [
        { code: 1 },
        { code: 2, message: "worker_lost: UNAVAILABLE" },
        { code: 0 }
      ])
      assert.notProperty(attributes(spans[0]), "cy.ttft_ms")
      assert.notProperty(attributes(spans[0]), "gen_ai.request.model")
    }))

  it.live("leaves a stream alone whose gateway does not sample it", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* collector(() => 200)
      yield* Effect.gen(function*() {
        const tracer = yield* StreamTracer
        const span = tracer.start({ traceparent: `00-${traceId}-${parentId}-00` })
        assert.strictEqual(span.traceparent, undefined)
        span.end(tally(), completed)
        tracer.start(sampledParent).end(tally({ workerTokens: 1 }), completed)
      }).pipe(Effect.provide(traced(url)))
      const spans = spansOf(yield* Queue.take(requests))
      assert.deepStrictEqual(spans.map((span) => attributes(span)["gen_ai.usage.output_tokens"]), ["1"])
    }))

  it.live("does nothing without an endpoint, nor without the layer", () =>
    Effect.gen(function*() {
      const bare = (yield* StreamTracer).start(sampledParent)
      assert.strictEqual(bare.traceparent, undefined)
      bare.end(tally(), completed)
      const off = yield* Effect.provide(StreamTracer, traced(undefined))
      assert.strictEqual(off, yield* StreamTracer)
    }))

  it.live("says once that the collector fails, and that it works again", () =>
    Effect.gen(function*() {
      let status = 503
      const { requests, url } = yield* collector(() => status)
      const lines: Array<string> = []
      const warned = yield* Deferred.make<void>()
      const logger = Logger.make(({ logLevel, message }) => {
        lines.push(`${logLevel}: ${String(message)}`)
        if (logLevel === "Warn") Deferred.doneUnsafe(warned, Effect.void)
      })
      yield* Effect.gen(function*() {
        const tracer = yield* StreamTracer
        tracer.start(sampledParent).end(tally(), completed)
        yield* Deferred.await(warned)
        status = 200
        tracer.start(sampledParent).end(tally({ workerTokens: 2 }), completed)
      }).pipe(Effect.provide(Layer.provideMerge(traced(url), Logger.layer([logger]))))
      yield* Queue.take(requests)
      const spans = spansOf(yield* Queue.take(requests))
      assert.strictEqual(attributes(spans[0])["gen_ai.usage.output_tokens"], "2")
      assert.strictEqual(lines.length, 2)
      assert.match(lines[0]!, /^Warn: traces cannot be delivered to 127\.0\.0\.1:\d+ .*\[observability\] otlp_endpoint/)
      assert.match(lines[1]!, /^Info: traces are delivered again; 1 span was lost/)
    }))

  it.live("keeps at most 4096 spans that wait, and sends them in batches of 512", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* collector(() => 200)
      const batches = yield* Effect.gen(function*() {
        const tracer = yield* StreamTracer
        for (let stream = 0; stream < 6000; stream++) tracer.start(sampledParent).end(tally(), completed)
        // Before the end, which waits for a slow machine two seconds only.
        return yield* Queue.takeN(requests, 8)
      }).pipe(Effect.provide(traced(url)), Effect.map((all) => all.map(spansOf)))
      assert.deepStrictEqual(batches.map((spans) => spans.length), [512, 512, 512, 512, 512, 512, 512, 512])
      // An answer that the end has cut off is asked for again.
      for (const again of yield* Queue.clear(requests)) assert.deepStrictEqual(spansOf(again), batches.at(-1))
    }))

  it.live("does not wait for a collector that never answers when the sidecar stops", () =>
    Effect.gen(function*() {
      const { requests, url } = yield* collector(() => 0)
      yield* Effect.gen(function*() {
        ;(yield* StreamTracer).start(sampledParent).end(tally(), completed)
      }).pipe(Effect.provide(traced(url)))
      assert.strictEqual(spansOf(yield* Queue.take(requests)).length, 1)
    }))

  it("reads a traceparent as the recommendation says", () => {
    const read = (traceparent: string | ReadonlyArray<string>) => parseTraceParent({ traceparent })
    const ok = { traceId, spanId: parentId, sampled: true }
    assert.deepStrictEqual(read(`00-${traceId}-${parentId}-01`), ok)
    assert.deepStrictEqual(read(`00-${traceId}-${parentId}-03`), ok)
    assert.deepStrictEqual(read(`cc-${traceId}-${parentId}-01-what-comes-later`), ok)
    assert.strictEqual(read(`00-${traceId}-${parentId}-00`)?.sampled, false)
    for (
      const wrong of [
        "",
        `ff-${traceId}-${parentId}-01`,
        `00-${traceId}-${parentId}-01-more`,
        `00-${"0".repeat(32)}-${parentId}-01`,
        `00-${traceId}-${"0".repeat(16)}-01`,
        `00-${traceId.toUpperCase()}-${parentId}-01`,
        `00-${traceId}-${parentId}`
      ]
    ) assert.strictEqual(read(wrong), undefined, wrong)
    assert.strictEqual(read([`00-${traceId}-${parentId}-01`, `00-${traceId}-${parentId}-01`]), undefined)
    assert.strictEqual(parseTraceParent({}), undefined)
    assert.strictEqual(formatTraceParent(ok), `00-${traceId}-${parentId}-01`)
  })
})
