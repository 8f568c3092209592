import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Logger, Queue, type Scope } from "effect"
import { readFileSync } from "node:fs"
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createTlsServer, type Server } from "node:https"
import { hasReadableCredentials } from "../../src/internal/config/credentials.ts"
import { rejectedSpans, tracesEndpoint } from "../../src/internal/ops/otlpAnswer.ts"
import * as HttpBillingSink from "../../src/layers/HttpBillingSink.ts"
import * as Tracing from "../../src/layers/Tracing.ts"
import { type BillingError, BillingSink, type BillingVerdict } from "../../src/services/BillingSink.ts"
import { StreamTracer } from "../../src/services/StreamTracer.ts"
import { noReplies } from "../../src/services/UsageMeter.ts"
import * as TestConfig from "../../src/testing/TestConfig.ts"
import { configLayer, record } from "../suites/usageSupport.ts"

interface Service {
  readonly url: string
  readonly port: number
  readonly requests: Queue.Queue<{ readonly path: string; readonly headers: IncomingMessage["headers"] }>
  /** Completes when the connection of an answer is gone. */
  readonly gone: Queue.Queue<number>
}

/** A service on a port of its own; `gone` tells how many bytes of a body were written when its connection went. */
const serve = (
  answer: (response: ServerResponse, path: string) => void
): Effect.Effect<Service, never, Scope.Scope> =>
  Effect.gen(function*() {
    const requests = yield* Queue.unbounded<{ readonly path: string; readonly headers: IncomingMessage["headers"] }>()
    const gone = yield* Queue.unbounded<number>()
    const server = createServer((request, response) => {
      request.resume()
      request.on("end", () => {
        Queue.offerUnsafe(requests, { path: request.url ?? "", headers: request.headers })
        const { socket } = response
        socket?.once("close", () => Queue.offerUnsafe(gone, socket.bytesWritten))
        answer(response, request.url ?? "")
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
    return { url: `http://127.0.0.1:${port}`, port, requests, gone }
  })

/** A service whose certificate nobody vouches for. */
const serveTls: Effect.Effect<string, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.callback<Server>((resume) => {
      const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}`, import.meta.url))
      const server = createTlsServer({ cert: pem("server.crt"), key: pem("server.key") })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => void server.close())
  ),
  (server) => {
    const address = server.address()
    return `https://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`
  }
)

/** A body without an end: as much as is read. */
const flood = (status: number) => (response: ServerResponse): void => {
  response.writeHead(status)
  const part = Buffer.alloc(65_536, "x")
  const more = (): void => {
    while (!response.destroyed && response.write(part)) { /* until the connection is full */ }
  }
  response.on("drain", more)
  more()
}

/** A body without an end, a byte now and none ever after. */
const trickle = (status: number) => (response: ServerResponse): void => {
  response.writeHead(status)
  response.write("x")
}

const batch = { batchId: "b-1", sidecarId: "host-1", records: [{ ...record(3), sidecar_id: "host-1" }] }

const post = (endpoint: string): Effect.Effect<BillingVerdict, BillingError, Scope.Scope> =>
  Effect.flatMap(
    Layer.build(HttpBillingSink.layer.pipe(Layer.provide(configLayer({ billing_endpoint: endpoint })))),
    (context) => Effect.provide(Effect.flatMap(BillingSink, (sink) => sink.send(batch)), context)
  )

/** More than any of our limits, and what may be on the way between two processes. */
const mostRead = 8 * 1024 * 1024

describe.concurrent("answers of the billing service", () => {
  it.live.each([[200, "Accepted"], [409, "Accepted"], [503, "Later"], [422, "Refused"], [413, "TooLarge"]] as const)(
    "are not read to an end that does not come: %i",
    ([status, verdict]) =>
      Effect.gen(function*() {
        const service = yield* serve(flood(status))
        assert.strictEqual((yield* post(service.url))._tag, verdict)
        assert.isBelow(yield* Queue.take(service.gone), mostRead)
      }).pipe(Effect.scoped)
  )

  it.live.each([[200, "Accepted"], [202, "Accepted"], [400, "Refused"], [500, "Later"]] as const)(
    "are decided by the status line when the text trickles: %i",
    ([status, verdict]) =>
      Effect.gen(function*() {
        const service = yield* serve(trickle(status))
        assert.strictEqual((yield* post(service.url))._tag, verdict)
        yield* Queue.take(service.gone)
      }).pipe(Effect.scoped)
  )

  it.live("are not followed elsewhere, and belong to no trace", () =>
    Effect.gen(function*() {
      const service = yield* serve((response) => void response.writeHead(302, { location: "/elsewhere" }).end())
      const verdict = yield* Effect.withSpan(post(`${service.url}/v1`), "a span of the sidecar's")
      assert.strictEqual(verdict._tag === "Later" ? verdict.reason : "", "misconfigured")
      const all = yield* Queue.clear(service.requests)
      assert.deepStrictEqual(all.map(({ path }) => path), ["/v1"])
      for (const header of ["traceparent", "tracestate", "b3"]) assert.notProperty(all[0]!.headers, header)
    }).pipe(Effect.scoped))

  it.live("say why there is none", () =>
    Effect.gen(function*() {
      const plain = yield* serve((response) => void response.end())
      const reset = yield* serve((response) => void response.socket?.resetAndDestroy())
      const detailOf = (endpoint: string) =>
        Effect.map(Effect.scoped(post(endpoint)), (verdict) => verdict._tag === "Later" ? verdict.detail : verdict._tag)
      assert.strictEqual(
        yield* detailOf("http://user:secret@127.0.0.1:9/v1?key=secret"),
        "connect ECONNREFUSED 127.0.0.1:9"
      )
      assert.match(yield* detailOf("http://no-such-host.invalid/v1"), /ENOTFOUND no-such-host.invalid|EAI_AGAIN/)
      assert.match(yield* detailOf(`https://127.0.0.1:${plain.port}/v1`), /EPROTO.*wrong version number/)
      assert.match(yield* detailOf(reset.url), /ECONNRESET/)
      const strange = yield* serveTls
      assert.match(yield* detailOf(strange), /^[A-Z_]*(?:CERT|LEAF_SIGNATURE)[A-Z_]*: [a-z-]+ .*certificate/)
    }).pipe(Effect.scoped))

  it.live.each(
    [
      ["user:pass%25@", "user:pass%"],
      [":tok3n@", ":tok3n"],
      ["user@", "user:"],
      ["user:100%@", "user:100%"],
      ["", undefined]
    ] as const
  )("come to whom the address names: %s", ([credentials, sent]) =>
    Effect.gen(function*() {
      const service = yield* serve((response) => void response.end())
      yield* post(service.url.replace("://", `://${credentials}`))
      const { headers } = yield* Queue.take(service.requests)
      assert.strictEqual(headers.authorization, sent === undefined ? undefined : `Basic ${btoa(sent)}`)
    }).pipe(Effect.scoped))
})

/** Ends a span, and answers what is logged until the collector was asked; then the tracer stops. */
const trace = (endpoint: string, until: Effect.Effect<unknown>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => void lines.push(`${logLevel}: ${String(message)}`))
    yield* Effect.gen(function*() {
      ;(yield* StreamTracer).start({}).end(
        {
          recordId: "0197",
          startedAt: 0,
          identity: undefined,
          ...noReplies(),
          workerTokens: undefined,
          promptTokens: undefined,
          doubtedTokens: undefined,
          doubtedPrompt: undefined,
          replays: 0,
          heldMillis: 0,
          ttftMillis: undefined
        },
        { outcome: "completed", grpcStatus: 0 }
      )
      yield* until
    }).pipe(
      Effect.provide(
        Tracing.layer.pipe(
          Layer.provide(TestConfig.layer({ observability: { otlp_endpoint: endpoint } })),
          Layer.provideMerge(Logger.layer([logger]))
        )
      )
    )
    return lines
  })

describe.concurrent("answers of the collector", () => {
  it.live("are not followed elsewhere: a redirect is no delivery", () =>
    Effect.gen(function*() {
      const service = yield* serve((response) => void response.writeHead(302, { location: "/elsewhere" }).end("moved"))
      const lines = yield* trace(
        `http://:tok3n@127.0.0.1:${service.port}/otlp/v1/traces/`,
        Queue.peek(service.requests)
      )
      const all = yield* Queue.clear(service.requests)
      assert.deepStrictEqual(new Set(all.map(({ path }) => path)), new Set(["/otlp/v1/traces"]))
      for (const { headers } of all) {
        assert.strictEqual(headers.authorization, `Basic ${btoa(":tok3n")}`)
        for (const header of ["traceparent", "tracestate", "b3"]) assert.notProperty(headers, header)
      }
      assert.match(lines[0]!, /^Warn: traces cannot be delivered to 127\.0\.0\.1:\d+ \(HTTP 302 moved\)/)
      assert.notInclude(lines.join(), "tok3n")
    }).pipe(Effect.scoped))

  it.live("are not read to an end that does not come", () =>
    Effect.gen(function*() {
      const service = yield* serve(flood(200))
      assert.deepStrictEqual(yield* trace(service.url, Queue.peek(service.gone)), [])
      assert.isBelow(yield* Queue.take(service.gone), mostRead)
    }).pipe(Effect.scoped))

  it.live("say why there is none", () =>
    Effect.gen(function*() {
      const lines = yield* trace("http://user:secret@127.0.0.1:9", Effect.void)
      assert.match(
        lines[0]!,
        /^Warn: traces cannot be delivered to 127\.0\.0\.1:9 \(connect ECONNREFUSED 127\.0\.0\.1:9\)/
      )
      assert.notInclude(lines.join(), "secret")
    }))

  it.live("tell what of a report was rejected", () =>
    Effect.gen(function*() {
      const text = JSON.stringify({ partialSuccess: { rejectedSpans: "1", errorMessage: "too\nold" } })
      const service = yield* serve((response) => void response.end(text))
      const lines = yield* trace(service.url, Queue.peek(service.gone))
      assert.deepStrictEqual(lines, ["Warn: traces: the collector took a report and rejected 1 of its spans: too old"])
    }).pipe(Effect.scoped))

  it("are read carefully", () => {
    const none = { spans: 0, message: "" }
    for (
      const text of ["", "{}", "null", "[]", "{\"partialSuccess\":null}", "{\"partialSuccess\":{\"rejectedSpans\":-1}}"]
    ) {
      assert.deepStrictEqual(rejectedSpans(text), none, text)
    }
    assert.strictEqual(rejectedSpans("{\"partialSuccess\":{\"rejectedSpans\":7}}").spans, 7)
  })
})

describe("the address of a service", () => {
  it("names the traces of a collector once", () => {
    const urlOf = (address: string) => tracesEndpoint(address).url.href
    for (const address of ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces", "http://c:4318/v1/traces//"]) {
      assert.strictEqual(urlOf(address), "http://c:4318/v1/traces")
    }
    assert.strictEqual(urlOf("http://u:p@c:4318/otlp/"), "http://c:4318/otlp/v1/traces")
  })

  it("has credentials that can be decoded, or not", () => {
    assert.isTrue(hasReadableCredentials("http://a%25:b%40@c"))
    for (const wrong of ["http://a:100%@c", "http://%zz:b@c", "http://a:%ff@c"]) {
      assert.isFalse(hasReadableCredentials(wrong), wrong)
    }
  })
})
