import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Effect, Layer, type Scope } from "effect"
import type { HttpClient } from "effect/http"
import { type OtlpSettings, otlpSettings } from "../internal/ops/otelEnvironment.ts"
import { makeOtlpExporter } from "../internal/ops/otlpExporter.ts"
import type { EndedSpan } from "../internal/ops/otlpSpan.ts"
import { traceIds } from "../internal/ops/traceIds.ts"
import { formatTraceParent, parseTraceParent } from "../internal/ops/traceparent.ts"
import { Limits } from "../services/Limits.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { noTracing, type StreamSpan, StreamTracer, type StreamTracing } from "../services/StreamTracer.ts"

/** Milliseconds between two reports. */
const exportInterval = 1000
/** No stream waits as often; a span that tells more is told so far. */
const maxEvents = 64
/** A `tracestate` need not be longer (W3C Trace Context, "tracestate Limits"). */
const maxTraceState = 512

/**
 * A span for each stream, exported as OTLP over HTTP with the {@link HttpClient.HttpClient} it is given. Where to, how and
 * which ones is said by `[observability] otlp_endpoint` and OpenTelemetry's environment variables (docs/operations.md,
 * "Traces"); without an endpoint nothing happens. A collector that is slow, wrong or gone costs spans, never a stream, and
 * a bounded number of spans of memory: said once in the log, and once when it works again.
 */
export const layerNoClient: Layer.Layer<never, never, SidecarConfig | HttpClient.HttpClient> = Layer.effect(
  StreamTracer,
  Effect.gen(function*() {
    const settings = yield* otlpSettings((yield* SidecarConfig).observability.otlp_endpoint)
    if (settings === undefined) return noTracing
    yield* Effect.forEach(settings.warnings, (line) => Effect.logWarning(line))
    return yield* tracing(settings)
  })
)

/** The same, with Node's own client. */
export const layer: Layer.Layer<never, never, SidecarConfig> = layerNoClient.pipe(
  Layer.provide(NodeHttpClient.layerNodeHttp)
)

const tracing = Effect.fnUntraced(function*(
  settings: OtlpSettings
): Effect.fn.Return<StreamTracing, never, HttpClient.HttpClient | Scope.Scope> {
  const clock = yield* Clock.Clock
  const exporter = yield* makeOtlpExporter(settings, yield* Limits)
  yield* Effect.addFinalizer(() => exporter.close)
  yield* Effect.sleep(exportInterval).pipe(
    Effect.andThen(exporter.flush),
    Effect.flatMap((pause) => Effect.sleep(Math.max(0, pause - exportInterval))),
    Effect.forever,
    Effect.forkScoped({ startImmediately: true })
  )
  const id = traceIds()
  return {
    start: (metadata) => {
      const parent = parseTraceParent(metadata)
      const traceId = parent?.traceId ?? id(16)
      if (!settings.sampler(traceId, parent?.sampled)) {
        // What the gateway has decided passes as it is; whatever else was decided here is told to the worker.
        return parent?.sampled === false
          ? noTracing.start(metadata)
          : {
            ...noTracing.start(metadata),
            traceparent: formatTraceParent({ traceId, spanId: parent?.spanId ?? id(8), sampled: false }),
            root: parent === undefined
          }
      }
      const state = parent === undefined ? undefined : metadata["tracestate"]
      return new RecordedSpan(clock, exporter.push, {
        traceId,
        spanId: id(8),
        parentSpanId: parent?.spanId,
        traceState: typeof state === "string" && state.length <= maxTraceState ? state : undefined,
        startedAt: clock.currentTimeNanosUnsafe()
      })
    }
  }
})

type Start = Pick<EndedSpan, "traceId" | "spanId" | "parentSpanId" | "traceState" | "startedAt">

/** A span that will be exported. Nothing is put into words before it leaves. */
class RecordedSpan implements StreamSpan {
  readonly traceparent: string
  readonly root: boolean
  readonly traceId: string
  readonly #clock: Clock.Clock
  readonly #push: (span: EndedSpan) => void
  readonly #start: Start
  readonly #events: Array<EndedSpan["events"][number]> = []
  #ended = false

  constructor(clock: Clock.Clock, push: (span: EndedSpan) => void, start: Start) {
    this.#clock = clock
    this.#push = push
    this.#start = start
    this.root = start.parentSpanId === undefined
    this.traceId = start.traceId
    this.traceparent = formatTraceParent({ ...start, sampled: true })
  }

  event(name: EndedSpan["events"][number]["name"]): void {
    if (this.#ended || this.#events.length >= maxEvents) return
    this.#events.push({ name, at: this.#clock.currentTimeNanosUnsafe() })
  }

  end(tally: EndedSpan["tally"], end: EndedSpan["end"]): void {
    if (this.#ended) return
    this.#ended = true
    this.#push({ ...this.#start, endedAt: this.#clock.currentTimeNanosUnsafe(), tally, end, events: this.#events })
  }
}
