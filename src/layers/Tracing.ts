import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Effect, Layer, type Scope } from "effect"
import { HttpClient, HttpClientRequest } from "effect/http"
import { randomBytes } from "node:crypto"
import { hostname } from "node:os"
import { rejectedSpans, tracesEndpoint } from "../internal/ops/otlpAnswer.ts"
import { exportRequest, type OtlpSpan, streamSpan } from "../internal/ops/otlpSpan.ts"
import { formatTraceParent, parseTraceParent } from "../internal/ops/traceparent.ts"
import { type AnswerLimits, firstText } from "../internal/outbound/answer.ts"
import { innermostCause } from "../internal/outbound/innermostCause.ts"
import { version } from "../internal/version.ts"
import { counted } from "../internal/words.ts"
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
).pipe(Layer.provide(NodeHttpClient.layerNodeHttp))

/** Spans that wait for the collector; more are dropped. */
const maxWaiting = 4096
/** Spans in one request. */
const maxBatch = 512
const exportInterval = "1 second"
/** How long the collector is left alone after it failed. */
const pauseAfterFailure = "10 seconds"
const requestTimeout = "5 seconds"
/** What is read of an answer: what was rejected stands in it. */
const answerLimits: AnswerLimits = { bytes: 16_384, millis: 1000 }
/** So much of a collector's words is logged. Characters. */
const wordsLimit = 200
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
        traceId: start.traceId,
        event: () => undefined,
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
  const client = yield* HttpClient.HttpClient
  const { authorization, url } = tracesEndpoint(endpoint)
  const request = HttpClientRequest.setHeaders(
    HttpClientRequest.post(url),
    authorization === undefined ? {} : { authorization }
  )
  const resource = { service: "cy-llm-sidecar", version, instance: `${hostname()}:${process.pid}` }
  let failing = false

  let rejecting = false

  /** Why it was not delivered; `undefined`: the status line says that it was. Redirects are not followed. */
  const post = (spans: ReadonlyArray<OtlpSpan>): Effect.Effect<string | undefined> =>
    client.execute(HttpClientRequest.bodyJsonUnsafe(request, exportRequest(spans, resource))).pipe(
      // A post belongs to no stream's trace.
      Effect.provideService(HttpClient.TracerPropagationEnabled, false),
      Effect.withTracerEnabled(false),
      Effect.timeout(requestTimeout),
      Effect.flatMap((response) =>
        Effect.map(firstText(response, answerLimits), (text) => ({ status: response.status, text }))
      ),
      Effect.flatMap(({ status, text }) =>
        status >= 200 && status < 300
          ? Effect.as(rejected(text), undefined)
          : Effect.succeed(`HTTP ${status} ${words(text)}`.trim())
      ),
      Effect.catchTags({
        TimeoutError: () => Effect.succeed("no answer"),
        HttpClientError: (error) => Effect.succeed(words(innermostCause(error)))
      })
    )
  const rejected = (text: string) =>
    Effect.suspend(() => {
      const { message, spans } = rejectedSpans(text)
      const first = !rejecting
      rejecting = spans > 0
      lost.spans += spans
      return spans > 0 && first
        ? Effect.logWarning(`traces: the collector took a report and rejected ${spans} of its spans: ${words(message)}`)
        : Effect.void
    })
  const failed = (spans: number, why: string) =>
    Effect.suspend(() => {
      lost.spans += spans
      if (failing) return Effect.logDebug(`traces: still not delivered (${why})`)
      failing = true
      return Effect.logWarning(
        `traces cannot be delivered to ${url.host} (${why}): streams go on, their spans are dropped; ` +
          "look at the collector, or at [observability] otlp_endpoint"
      )
    })
  const delivered = Effect.suspend(() => {
    if (!failing) return Effect.void
    failing = false
    const { spans } = lost
    lost.spans = 0
    return Effect.logInfo(`traces are delivered again; ${counted(spans, "span")} ${spans === 1 ? "was" : "were"} lost`)
  })

  const flush: Effect.Effect<boolean> = Effect.suspend(() => {
    if (waiting.length === 0) return Effect.succeed(true)
    const batch = waiting.splice(0, maxBatch)
    return post(batch).pipe(
      // The sidecar stops: the last flush sends it again, and a collector knows a span by its id.
      Effect.onInterrupt(() => Effect.sync(() => waiting.unshift(...batch))),
      Effect.flatMap((why) =>
        why === undefined ? Effect.andThen(delivered, flush) : Effect.as(failed(batch.length, why), false)
      )
    )
  })
  // @effect-diagnostics-next-line returnEffectInGen:off
  return flush
})

const words = (text: string): string => text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim().slice(0, wordsLimit).toWellFormed()
