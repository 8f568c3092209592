import { Clock, Effect, Layer, type Scope } from "effect"
import { FetchHttpClient, HttpBody, HttpClient } from "effect/http"
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import { exportRequest, type OtlpSpan, streamSpan } from "../internal/ops/otlpSpan.ts"
import { formatTraceParent, parseTraceParent } from "../internal/ops/traceparent.ts"
import { version } from "../internal/version.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { noTracing, type StreamSpan, StreamTracer, type StreamTracing } from "../services/StreamTracer.ts"

/**
 * A span for each stream, exported as OTLP over HTTP (JSON) to `[observability] otlp_endpoint`; without that key nothing
 * happens. A collector that is slow, wrong or gone costs spans, never a stream and never more than {@link maxWaiting}
 * spans of memory: said once in the log, and once when it works again.
 */
export const layer: Layer.Layer<never, never, SidecarConfig> = Layer.effect(
  StreamTracer,
  Effect.gen(function*() {
    const { otlp_endpoint: endpoint } = (yield* SidecarConfig).observability
    return endpoint === undefined ? noTracing : yield* tracing(endpoint)
  })
).pipe(Layer.provide(FetchHttpClient.layer))

/** Spans that wait for the collector; more are dropped. */
const maxWaiting = 4096
/** Spans in one request. */
const maxBatch = 512
const exportInterval = "1 second"
/** How long the collector is left alone after it failed. */
const pauseAfterFailure = "10 seconds"
const requestTimeout = "5 seconds"
/** How long the last spans may take when the sidecar stops. */
const lastFlush = "2 seconds"

const tracing = Effect.fnUntraced(function*(
  endpoint: string
): Effect.fn.Return<StreamTracing, never, HttpClient.HttpClient | Scope.Scope> {
  const clock = yield* Clock.Clock
  const waiting: Array<OtlpSpan> = []
  const lost = { spans: 0 }
  const flush = yield* makeExporter(endpoint, waiting, lost)
  yield* Effect.addFinalizer(() => Effect.timeoutOption(flush, lastFlush).pipe(Effect.asVoid))
  yield* Effect.sleep(exportInterval).pipe(
    Effect.andThen(flush),
    Effect.flatMap((delivered) => delivered ? Effect.void : Effect.sleep(pauseAfterFailure)),
    Effect.forever,
    Effect.forkScoped({ startImmediately: true })
  )
  return {
    start: (metadata): StreamSpan => {
      const parent = parseTraceParent(metadata)
      if (parent?.sampled === false) return noTracing.start(metadata)
      const start = {
        traceId: parent?.traceId ?? randomBytes(16).toString("hex"),
        spanId: randomBytes(8).toString("hex"),
        parentSpanId: parent?.spanId,
        startedAt: clock.currentTimeNanosUnsafe()
      }
      let ended = false
      return {
        traceparent: formatTraceParent({ ...start, sampled: true }),
        end: (tally, end) => {
          if (ended) return
          ended = true
          if (waiting.length >= maxWaiting) lost.spans++
          else waiting.push(streamSpan(start, clock.currentTimeNanosUnsafe(), tally, end))
        }
      }
    }
  }
})

/** Sends all that waits, batch by batch; answers whether the collector took it. */
const makeExporter = Effect.fnUntraced(function*(
  endpoint: string,
  waiting: Array<OtlpSpan>,
  lost: { spans: number }
): Effect.fn.Return<Effect.Effect<boolean>, never, HttpClient.HttpClient> {
  const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
  const url = tracesUrl(endpoint)
  const resource = { service: "cy-llm-sidecar", version, instance: `${hostname()}:${process.pid}` }
  let failing = false

  const post = (spans: ReadonlyArray<OtlpSpan>) =>
    client.post(url, { body: HttpBody.jsonUnsafe(exportRequest(spans, resource)) }).pipe(
      // The answer is read, so that its connection is free again.
      Effect.flatMap((response) => response.text),
      Effect.timeout(requestTimeout),
      Effect.withTracerEnabled(false)
    )
  const failed = (spans: number, why: string) =>
    Effect.suspend(() => {
      lost.spans += spans
      if (failing) return Effect.logDebug(`traces: still not delivered (${why})`)
      failing = true
      return Effect.logWarning(
        `traces cannot be delivered to ${new URL(url).host} (${why}): streams go on, their spans are dropped; ` +
          "look at the collector, or at [observability] otlp_endpoint"
      )
    })
  const delivered = Effect.suspend(() => {
    if (!failing) return Effect.void
    failing = false
    const { spans } = lost
    lost.spans = 0
    return Effect.logInfo(`traces are delivered again; ${spans} spans were lost`)
  })

  const flush: Effect.Effect<boolean> = Effect.suspend(() => {
    if (waiting.length === 0) return Effect.succeed(true)
    const batch = waiting.splice(0, maxBatch)
    return post(batch).pipe(
      // The sidecar stops: the last flush sends it again, and a collector knows a span by its id.
      Effect.onInterrupt(() => Effect.sync(() => waiting.unshift(...batch))),
      Effect.matchEffect({
        onFailure: (error) =>
          Effect.as(failed(batch.length, error._tag === "TimeoutError" ? "no answer" : error.message), false),
        onSuccess: () => Effect.andThen(delivered, flush)
      })
    )
  })
  // @effect-diagnostics-next-line returnEffectInGen:off
  return flush
})

/** The endpoint is the collector's base URL, or already that of its traces. */
const tracesUrl = (endpoint: string): string => {
  const url = new URL(endpoint)
  if (!url.pathname.endsWith("/v1/traces")) url.pathname = `${url.pathname.replace(/\/+$/, "")}/v1/traces`
  return url.href
}
