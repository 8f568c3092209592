import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, Fiber, Layer, Logger } from "effect"
import { HttpBody, HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { createServer } from "node:http"
import { expect } from "vitest"
import { rejectedSpansOf, statusWords } from "../../src/internal/ops/otlpAnswer.ts"
import { samplerOf } from "../../src/internal/ops/sampler.ts"
import { formatTraceParent, parseTraceParent } from "../../src/internal/ops/traceparent.ts"
import * as Tracing from "../../src/layers/Tracing.ts"
import { type LimitName, Limits } from "../../src/services/Limits.ts"
import * as Status from "../../src/services/Status.ts"
import { type SpanEnd, StreamTracer } from "../../src/services/StreamTracer.ts"
import { noReplies, type UsageTally } from "../../src/services/UsageMeter.ts"
import * as TestConfig from "../../src/testing/TestConfig.ts"
import { partialSuccess, readReport, type SeenReport, type SeenSpan } from "../support/otlp.ts"

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
const parentId = "00f067aa0ba902b7"
const sampledParent = { traceparent: `00-${traceId}-${parentId}-01` }
const unsampledParent = { traceparent: `00-${traceId}-${parentId}-00` }

const tally = (over: Partial<UsageTally> = {}): UsageTally => ({
  recordId: "0197",
  startedAt: 0,
  identity: {
    traceId: "game-42",
    modelId: "qwen-7b",
    adapter: "",
    tenant: "secret-tenant",
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

/** What a collector answers: a status with its headers and text, nothing ever, or that nobody listens. */
type Answer =
  | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string | Uint8Array }
  | "silence"
  | "unreachable"

interface Post {
  readonly path: string
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Read when it is looked at: thousands of spans take a second. */
  readonly report: () => SeenReport
  readonly size: () => number
}

/** Spans in a report in JSON, without a look at them. */
const sizeOf = (body: Uint8Array): number => {
  const { resourceSpans: [{ scopeSpans: [{ spans }] }] } = JSON.parse(Buffer.from(body).toString("utf8"))
  return spans.length
}

const bytesOf = (request: HttpClientRequest.HttpClientRequest): Uint8Array =>
  HttpBody.isHttpBody(request.body) && request.body._tag === "Uint8Array" ? request.body.body : new Uint8Array()

/** A collector that answers each post by what `next` says, on virtual time; and what it got. */
const collector = (next: (post: number) => Answer) => {
  const posts: Array<Post> = []
  const client = HttpClient.make((request, url) =>
    Effect.suspend(() => {
      posts.push({
        path: url.pathname,
        headers: request.headers,
        report: () => readReport(request.headers, bytesOf(request)),
        size: () => sizeOf(bytesOf(request))
      })
      const answer = next(posts.length)
      if (answer === "silence") return Effect.never
      if (answer === "unreachable") {
        return Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, cause: new Error("connect ECONNREFUSED") })
          })
        )
      }
      const { body = "", headers = {}, status } = answer
      return Effect.succeed(HttpClientResponse.fromWeb(
        request,
        new Response(typeof body === "string" ? body : Uint8Array.from(body), { status, headers })
      ))
    })
  )
  return { posts, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const ok = (): Answer => ({ status: 200 })

/** The tracer and all around it on virtual time; `act` ends spans, and what was posted and logged until then is looked at. */
const traced = <A>(
  options: {
    readonly answer?: (post: number) => Answer
    readonly endpoint?: string | undefined
    readonly env?: Record<string, string>
  },
  act: (world: {
    readonly posts: ReadonlyArray<Post>
    readonly lines: ReadonlyArray<string>
    readonly limits: ReadonlyArray<LimitName>
  }) => Effect.Effect<A>
): Effect.Effect<{
  readonly value: A
  readonly posts: ReadonlyArray<Post>
  readonly spans: () => ReadonlyArray<SeenSpan>
  readonly lines: ReadonlyArray<string>
}> => {
  const { layer, posts } = collector(options.answer ?? ok)
  const lines: Array<string> = []
  const limits: Array<LimitName> = []
  const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
  const endpoint = "endpoint" in options ? options.endpoint : "http://collector:4318"
  return act({ posts, lines, limits }).pipe(
    Effect.provide(
      Tracing.layerNoClient.pipe(
        Layer.provide(layer),
        Layer.provide(TestConfig.layer({
          observability: endpoint === undefined ? {} : { otlp_endpoint: endpoint }
        })),
        Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({ env: options.env ?? {} }))),
        Layer.provide(Layer.succeed(Limits, { reached: (limit) => void limits.push(limit) })),
        Layer.provideMerge(Logger.layer([logger]))
      )
    ),
    Effect.map((value) => ({ value, posts, lines, spans: () => posts.flatMap(({ report }) => report().spans) }))
  )
}

/** Time passes a second at a time: an answer is read between two of them, by promises that no clock knows. */
const pass = (secs: number) =>
  Effect.forEach(Array.from({ length: secs }), () => TestClock.adjust("1 second"), { discard: true })

/** Ends one stream of a gateway with that metadata. */
const stream = (
  metadata: Record<string, string> = sampledParent,
  over: Partial<UsageTally> = {},
  end: SpanEnd = completed
) =>
  Effect.map(StreamTracer, (tracer) => {
    const span = tracer.start(metadata)
    span.end(tally(over), end)
    return span
  })

const streams = (count: number) => Effect.forEach(Array.from({ length: count }), () => stream(), { discard: true })

describe("Tracing", () => {
  it.effect("exports a span below the gateway's, as the conventions for gRPC and generative AI want it", () =>
    Effect.gen(function*() {
      const { posts, spans, value } = yield* traced({}, () =>
        Effect.map(StreamTracer, (tracer) => {
          const span = tracer.start({ ...sampledParent, tracestate: "vendor=1" })
          span.end(tally({ promptTokens: 7 }), completed)
          span.end(tally({ workerTokens: 99 }), { outcome: "failed", grpcStatus: 13 })
          return span
        }))
      assert.deepStrictEqual(posts.map(({ path }) => path), ["/v1/traces"])
      assert.strictEqual(posts[0]!.headers["content-type"], "application/json")
      assert.match(posts[0]!.headers["user-agent"]!, /^cy-llm-sidecar\//)
      assert.strictEqual(spans().length, 1)
      const span = spans()[0]!
      expect(span).toMatchObject({
        traceId,
        parentSpanId: parentId,
        traceState: "vendor=1",
        flags: 0x301,
        name: "cy.llm.AiInference/StreamPredict",
        kind: 2,
        status: { code: 1 }
      })
      assert.strictEqual(value.traceparent, `00-${traceId}-${span.spanId}-01`)
      assert.deepStrictEqual([value.traceId, value.root], [traceId, false])
      assert.isTrue(span.endedAt >= span.startedAt)
      assert.deepStrictEqual(span.attributes, {
        "rpc.system.name": "grpc",
        "rpc.system": "grpc",
        "rpc.method": "cy.llm.AiInference/StreamPredict",
        "rpc.response.status_code": "OK",
        "rpc.grpc.status_code": 0,
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "cy-llm",
        "gen_ai.request.stream": true,
        "gen_ai.request.model": "qwen-7b",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 12,
        "gen_ai.response.time_to_first_chunk": 0.08,
        "cy.outcome": "completed",
        "cy.trace_id": "game-42",
        "cy.record_id": "0197",
        "cy.ttft_ms": 80,
        "cy.held_ms": 250,
        "cy.replays": 1,
        "cy.chunks": 12
      })
      assert.strictEqual(posts[0]!.report().resource["service.name"], "cy-llm-sidecar")
    }))

  it.effect("tells what happened on the way, when it happened", () =>
    Effect.gen(function*() {
      const { spans } = yield* traced({}, () =>
        Effect.gen(function*() {
          const span = (yield* StreamTracer).start(sampledParent)
          yield* TestClock.adjust(10)
          span.event("held")
          yield* TestClock.adjust(500)
          span.event("sent")
          yield* TestClock.adjust(5)
          span.event("held")
          yield* TestClock.adjust(85)
          span.event("replayed")
          yield* TestClock.adjust(50)
          span.event("first_token")
          yield* TestClock.adjust(50)
          span.end(tally(), completed)
          span.event("held")
        }))
      const { endedAt, events, startedAt } = spans()[0]!
      assert.deepStrictEqual(events.map(({ at, name }) => [name, Number(at - startedAt) / 1e6]), [
        ["held", 10],
        ["sent", 510],
        ["held", 515],
        ["replayed", 600],
        ["first_token", 650]
      ])
      assert.strictEqual(Number(endedAt - startedAt) / 1e6, 700)
    }))

  it.effect("has a span for a refused call, too, with the reason that the gateway was given", () =>
    Effect.gen(function*() {
      const { spans } = yield* traced({}, () =>
        Effect.gen(function*() {
          const status = Status.make(Status.Code.UNAVAILABLE, "Worker is restarting", {
            "cy-reason": "worker_disconnected"
          })
          const tracer = yield* StreamTracer
          tracer.start(sampledParent).end(undefined, { outcome: "refused", grpcStatus: status.code, status })
          const own = Status.make(Status.Code.INTERNAL, "CUDA out of memory")
          tracer.start(sampledParent).end(tally(), { outcome: "failed", grpcStatus: own.code, status: own })
        }))
      assert.deepStrictEqual(
        spans().map(({ attributes, status }) => [
          attributes["error.type"],
          attributes["rpc.response.status_code"],
          attributes["gen_ai.request.model"],
          status
        ]),
        [
          ["worker_disconnected", "UNAVAILABLE", undefined, { code: 2, message: "refused: UNAVAILABLE" }],
          ["INTERNAL", "INTERNAL", "qwen-7b", { code: 2, message: "failed: INTERNAL" }]
        ]
      )
    }))

  it.effect("begins a trace of its own where the gateway has none", () =>
    Effect.gen(function*() {
      const { posts, spans, value } = yield* traced(
        { endpoint: "http://collector:4318/v1/traces" },
        () =>
          Effect.all([
            stream({}, { identity: undefined, ttftMillis: undefined }),
            stream({ traceparent: "not one", tracestate: "vendor=1" }, {}, { outcome: "worker_lost", grpcStatus: 14 }),
            stream({}, {}, { outcome: "cancelled", grpcStatus: 1 })
          ])
      )
      assert.strictEqual(posts[0]!.path, "/v1/traces")
      assert.strictEqual(new Set(spans().map((span) => span.traceId)).size, 3)
      assert.isTrue(spans().every((span) => span.parentSpanId === undefined && span.traceState === undefined))
      assert.isTrue(spans().every(({ flags }) => flags === 0x101))
      assert.isTrue(value.every(({ root }) => root))
      assert.deepStrictEqual(spans().map((span) => span.status), [
        { code: 1, message: "" },
        { code: 2, message: "worker_lost: UNAVAILABLE" },
        { code: 0, message: "" }
      ])
      assert.notProperty(spans()[0]!.attributes, "cy.ttft_ms")
      assert.notProperty(spans()[0]!.attributes, "gen_ai.request.model")
      assert.deepStrictEqual(spans()[0]!.events, [])
    }))

  it.effect("leaves a stream alone whose gateway does not sample it", () =>
    Effect.gen(function*() {
      const { spans, value } = yield* traced({}, () =>
        Effect.gen(function*() {
          const span = yield* stream(unsampledParent)
          yield* stream(sampledParent, { workerTokens: 1 })
          return span
        }))
      assert.deepStrictEqual([value.traceparent, value.traceId, value.root], [undefined, undefined, false])
      assert.deepStrictEqual(spans().map(({ attributes }) => attributes["gen_ai.usage.output_tokens"]), [1])
    }))

  it.effect("does nothing without an endpoint, nor without the layer", () =>
    Effect.gen(function*() {
      const bare = yield* StreamTracer
      assert.strictEqual(bare.start(sampledParent).traceparent, undefined)
      const off = yield* traced({ endpoint: undefined }, () => Effect.map(StreamTracer, (tracer) => tracer))
      assert.strictEqual(off.value, bare)
    }))

  it.effect("does not wait for a collector that never answers when the sidecar stops", () =>
    Effect.gen(function*() {
      const asked = yield* Effect.forkChild(traced({ answer: () => "silence" }, () => stream()))
      yield* Effect.yieldNow
      yield* TestClock.adjust(2000)
      const { lines, spans } = yield* Fiber.join(asked)
      assert.strictEqual(spans().length, 1)
      assert.deepStrictEqual(lines, ["Warn: traces: 1 span could not be delivered"])
    }))
})

describe("the collector of traces", () => {
  it.effect("is offered again what it could not take, and is told of once", () =>
    Effect.gen(function*() {
      const { lines, posts, spans } = yield* traced(
        { answer: (post) => ({ status: post < 3 ? 503 : 200 }) },
        () => Effect.andThen(stream(), pass(10))
      )
      assert.strictEqual(posts.length, 3)
      assert.strictEqual(new Set(spans().map(({ spanId }) => spanId)).size, 1)
      assert.strictEqual(lines.length, 2)
      assert.match(
        lines[0]!,
        /^Warn: traces cannot be delivered to collector:4318 \(HTTP 503\).*\[observability\] otlp_/
      )
      assert.match(lines[1]!, /^Info: traces are delivered again; 0 spans were lost/)
    }))

  it.effect.each(
    [
      ["429 and seconds", { status: 429, headers: { "retry-after": "40" } }, 40],
      ["503 and a date", { status: 503, headers: { "retry-after": "Thu, 01 Jan 1970 00:01:00 GMT" } }, 59],
      ["more than anybody waits", { status: 503, headers: { "retry-after": "86400" } }, 300],
      ["no word of it", { status: 502 }, 1]
    ] as const
  )("is left alone for as long as it asks: %s", ([, answer, secs]) =>
    Effect.gen(function*() {
      yield* traced({ answer: (post) => post === 1 ? answer : ok() }, ({ posts }) =>
        Effect.gen(function*() {
          yield* stream()
          yield* TestClock.adjust("1 second")
          assert.strictEqual(posts.length, 1)
          yield* TestClock.adjust(secs * 1000 - 1)
          assert.strictEqual(posts.length, 1)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(posts.length, 2)
        }))
    }))

  it.effect("shows no secret that it repeats", () =>
    Effect.gen(function*() {
      const { lines } = yield* traced({
        answer: () => ({ status: 403, body: `no ${btoa("me:pa55word")}, pa55word, t0ken nor k3yk3y` }),
        endpoint: undefined,
        env: {
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://me:pa55word@collector:4318",
          OTEL_EXPORTER_OTLP_HEADERS: "x-up=Bearer%20t0ken,x-key=k3yk3y"
        }
      }, () => Effect.andThen(stream(), pass(1)))
      assert.match(lines.join("\n"), /HTTP 403 no \*\*\*, \*\*\*, \*\*\* nor \*\*\*\)/)
    }))

  it.effect("is left alone also when the sidecar stops", () =>
    Effect.gen(function*() {
      const { lines, posts } = yield* traced(
        { answer: () => ({ status: 429, headers: { "retry-after": "40" } }) },
        () => Effect.andThen(stream(), pass(5))
      )
      assert.strictEqual(posts.length, 1)
      assert.strictEqual(lines.at(-1), "Warn: traces: 1 span could not be delivered")
    }))

  it.effect("loses what it refuses, and what it could not take five times", () =>
    Effect.gen(function*() {
      for (const [answer, tries] of [[{ status: 400 }, 1], ["unreachable", 5], ["silence", 5]] as const) {
        const { lines, posts } = yield* traced(
          { answer: (post) => post <= tries ? answer : ok() },
          () =>
            Effect.gen(function*() {
              yield* stream()
              yield* pass(120)
              yield* stream()
              yield* pass(11)
            })
        )
        assert.strictEqual(posts.length, tries + 1)
        assert.match(lines.at(-1)!, /^Info: traces are delivered again; 1 span was lost/)
      }
    }))

  it.effect("has at most 4096 spans waiting for it, and gets them in batches of 256", () =>
    Effect.gen(function*() {
      const { posts, value } = yield* traced({}, ({ limits }) =>
        Effect.gen(function*() {
          yield* streams(5000)
          yield* TestClock.adjust("1 second")
          return limits
        }))
      assert.deepStrictEqual(posts.map(({ size }) => size()), Array.from({ length: 16 }, () => 256))
      assert.strictEqual(value.length, 5000 - 4096)
      assert.deepStrictEqual([...new Set(value)], ["spans"])
    }))

  it.effect("has room for streams in a flood of refusals", () =>
    Effect.gen(function*() {
      const { spans } = yield* traced({}, () =>
        Effect.gen(function*() {
          const tracer = yield* StreamTracer
          for (let call = 0; call < 5000; call++) {
            tracer.start(sampledParent).end(undefined, { outcome: "refused", grpcStatus: 8 })
          }
          yield* streams(10)
          yield* TestClock.adjust("1 second")
          tracer.start(sampledParent).end(undefined, { outcome: "refused", grpcStatus: 8 })
        }))
      const by = (outcome: string) => spans().filter(({ attributes }) => attributes["cy.outcome"] === outcome).length
      assert.deepStrictEqual([by("refused"), by("completed")], [1024 + 1, 10])
    }))

  it.effect("is read in protobuf, too", () =>
    Effect.gen(function*() {
      const body = partialSuccess(1, "too old")
      const { lines, spans, posts } = yield* traced(
        {
          env: { OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" },
          answer: () => ({ status: 200, headers: { "content-type": "application/x-protobuf" }, body })
        },
        () => stream()
      )
      assert.strictEqual(posts[0]!.report().encoding, "protobuf")
      assert.strictEqual(spans()[0]!.attributes["gen_ai.usage.output_tokens"], 12)
      assert.strictEqual(spans()[0]!.attributes["gen_ai.response.time_to_first_chunk"], 0.08)
      assert.strictEqual(spans()[0]!.flags, 0x301)
      assert.strictEqual(
        lines[0],
        "Warn: traces: the collector took a report and rejected 1 of its spans: too old"
      )
      assert.deepStrictEqual(rejectedSpansOf(Uint8Array.of(0xff)), { spans: 0, message: "" })
      assert.strictEqual(statusWords(Uint8Array.of(0x12, 0x02, 0x68, 0x69)), "hi")
    }))
})

describe("OpenTelemetry's environment", () => {
  const spansWith = (env: Record<string, string>, endpoint?: string) =>
    traced({ env, endpoint }, () => Effect.all([stream({}), stream(unsampledParent)]))

  it.effect("names the collector where our own key does not", () =>
    Effect.gen(function*() {
      const path = (env: Record<string, string>, endpoint?: string) =>
        Effect.map(spansWith(env, endpoint), ({ posts }) => posts.map((post) => post.path).join())
      assert.strictEqual(yield* path({ OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318/base/" }), "/base/v1/traces")
      const both = {
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "http://c:4318/in"
      }
      assert.strictEqual(yield* path(both), "/in")
      assert.strictEqual(yield* path(both, "http://own:4318/mine"), "/mine/v1/traces")
      assert.strictEqual(yield* path({ OTEL_EXPORTER_OTLP_ENDPOINT: "" }), "")
    }))

  it.effect.each([{ OTEL_SDK_DISABLED: "TRUE" }, { OTEL_TRACES_EXPORTER: "none" }] as const)(
    "turns tracing off: %o",
    (env) =>
      Effect.gen(function*() {
        const { posts, value } = yield* spansWith({ ...env }, "http://collector:4318")
        assert.deepStrictEqual(posts, [])
        assert.deepStrictEqual(value.map(({ traceparent }) => traceparent), [undefined, undefined])
      })
  )

  it.effect("says who we are, and what the collector wants to see", () =>
    Effect.gen(function*() {
      const { lines, posts } = yield* spansWith({
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://user:pass@c:4318",
        OTEL_EXPORTER_OTLP_HEADERS: "X-Api-Key=a%20b, x-dataset=games",
        OTEL_SERVICE_NAME: "sidecar-of-seven",
        OTEL_RESOURCE_ATTRIBUTES: "service.name=other,deployment.environment.name=prod,gpu=a%2C100"
      })
      expect(posts[0]!.headers).toMatchObject({
        authorization: `Basic ${btoa("user:pass")}`,
        "x-api-key": "a b",
        "x-dataset": "games"
      })
      expect(posts[0]!.report().resource).toMatchObject({
        "service.name": "sidecar-of-seven",
        "deployment.environment.name": "prod",
        gpu: "a,100"
      })
      assert.deepStrictEqual(lines, [])
    }))

  it.effect("gives the collector its time", () =>
    Effect.gen(function*() {
      yield* traced(
        { env: { OTEL_EXPORTER_OTLP_TRACES_TIMEOUT: "250" }, answer: () => "silence" },
        ({ lines }) =>
          Effect.gen(function*() {
            yield* stream()
            yield* TestClock.adjust(1249)
            assert.deepStrictEqual(lines, [])
            yield* TestClock.adjust(1)
            assert.match(lines[0]!, /\(no answer\)/)
            yield* Effect.forkChild(TestClock.adjust("2 seconds"))
          })
      )
    }))

  it.effect.each(
    [
      ["always_on", "", [true, true]],
      ["always_off", "", [false, false]],
      ["traceidratio", "0", [false, false]],
      ["traceidratio", "1", [true, true]],
      ["parentbased_always_on", "", [true, false]],
      ["parentbased_always_off", "", [false, false]],
      ["parentbased_traceidratio", "0", [false, false]],
      ["parentbased_traceidratio", "1", [true, false]]
    ] as const
  )("chooses the sampler: %s %s", ([name, ratio, sampled]) =>
    Effect.gen(function*() {
      const env = {
        OTEL_TRACES_SAMPLER: name,
        ...(ratio === "" ? {} : { OTEL_TRACES_SAMPLER_ARG: ratio })
      }
      const { spans, value } = yield* spansWith(env, "http://collector:4318")
      assert.strictEqual(spans().length, sampled.filter(Boolean).length)
      const [root, below] = value
      // A trace that begins here is decided here for the worker, too.
      assert.match(root.traceparent!, sampled[0] ? /^00-[\da-f]{32}-[\da-f]{16}-01$/ : /-00$/)
      assert.strictEqual(root.traceId !== undefined, sampled[0])
      assert.strictEqual(below.traceparent === undefined, !sampled[1])
      if (below.traceparent !== undefined) assert.match(below.traceparent, new RegExp(`^00-${traceId}-.*-01$`))
    }))

  it.effect("tells the worker when it drops what the gateway sampled", () =>
    Effect.gen(function*() {
      const { spans, value } = yield* traced({ env: { OTEL_TRACES_SAMPLER: "always_off" } }, () => stream())
      assert.deepStrictEqual(spans(), [])
      assert.strictEqual(value.traceparent, `00-${traceId}-${parentId}-00`)
    }))

  it.effect("is ignored where it cannot be followed, with one line that shows no secret", () =>
    Effect.gen(function*() {
      const { lines, posts } = yield* spansWith({
        OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318",
        OTEL_EXPORTER_OTLP_HEADERS: "authorization",
        OTEL_EXPORTER_OTLP_PROTOCOL: "grpc",
        OTEL_EXPORTER_OTLP_COMPRESSION: "zstd",
        OTEL_EXPORTER_OTLP_TIMEOUT: "soon",
        OTEL_TRACES_SAMPLER: "parentbased_traceidratio",
        OTEL_TRACES_SAMPLER_ARG: "7",
        OTEL_RESOURCE_ATTRIBUTES: "key=100%"
      })
      assert.strictEqual(posts[0]!.report().encoding, "protobuf")
      assert.deepStrictEqual(lines.map((line) => line.replace(/^Warn: (\S+:) .*?(, got.*)?; ignored$/, "$1$2")), [
        "OTEL_EXPORTER_OTLP_HEADERS:",
        "OTEL_EXPORTER_OTLP_PROTOCOL:, got \"grpc\"",
        "OTEL_EXPORTER_OTLP_COMPRESSION:, got \"zstd\"",
        "OTEL_EXPORTER_OTLP_TIMEOUT:, got \"soon\"",
        "OTEL_TRACES_SAMPLER_ARG:, got \"7\"",
        "OTEL_RESOURCE_ATTRIBUTES:"
      ])
      for (const header of ["x-key=a%0Ab", "x-key=%C3%A9", "x%20key=a"]) {
        const { lines, posts } = yield* spansWith({
          OTEL_EXPORTER_OTLP_ENDPOINT: "http://c:4318",
          OTEL_EXPORTER_OTLP_HEADERS: header
        })
        assert.match(lines.join(), /^Warn: OTEL_EXPORTER_OTLP_HEADERS: expected [^%]*; ignored$/)
        assert.strictEqual(posts.length, 1)
      }
      const wrong = yield* spansWith({ OTEL_EXPORTER_OTLP_ENDPOINT: "user:secret@c" })
      assert.deepStrictEqual(wrong.posts, [])
    }))

  it("samples the same traces as others with that ratio", () => {
    const half = samplerOf("traceidratio", 0.5)!
    assert.isTrue(half(`${"f".repeat(16)}7fffffffffffffff`, undefined))
    assert.isFalse(half(`${"0".repeat(16)}8000000000000000`, undefined))
    assert.strictEqual(samplerOf("jaeger_remote", 1), undefined)
  })
})

describe("on the wire", () => {
  it.live("a report leaves compressed", () =>
    Effect.scoped(Effect.gen(function*() {
      const reports: Array<SeenReport> = []
      const server = createServer((request, response) => {
        const parts: Array<Buffer> = []
        request.on("data", (part: Buffer) => parts.push(part))
        request.on("end", () => {
          reports.push(readReport(request.headers, Buffer.concat(parts)))
          response.writeHead(request.headers["content-encoding"] === "gzip" ? 200 : 400).end()
        })
      })
      yield* Effect.addFinalizer(() => Effect.sync(() => void server.close().closeAllConnections()))
      const port = yield* Effect.callback<number>((resume) => {
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0))
        })
      })
      yield* streams(3).pipe(Effect.provide(
        Tracing.layer.pipe(
          Layer.provide(TestConfig.layer({ observability: { otlp_endpoint: `http://127.0.0.1:${port}` } })),
          Layer.provide(ConfigProvider.layer(ConfigProvider.fromEnv({
            env: { OTEL_EXPORTER_OTLP_COMPRESSION: "gzip", OTEL_EXPORTER_OTLP_PROTOCOL: "http/protobuf" }
          })))
        )
      ))
      assert.deepStrictEqual(reports.map(({ encoding, spans }) => [encoding, spans.length]), [["protobuf", 3]])
    })))

  it("reads a traceparent as the recommendation says", () => {
    const read = (traceparent: string | ReadonlyArray<string>) => parseTraceParent({ traceparent })
    const parsed = { traceId, spanId: parentId, sampled: true }
    assert.deepStrictEqual(read(`00-${traceId}-${parentId}-01`), parsed)
    assert.deepStrictEqual(read(`00-${traceId}-${parentId}-03`), parsed)
    assert.deepStrictEqual(read(`cc-${traceId}-${parentId}-01-what-comes-later`), parsed)
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
    assert.strictEqual(formatTraceParent(parsed), `00-${traceId}-${parentId}-01`)
  })
})
