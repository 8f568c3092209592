import { codeName } from "../../services/Status.ts"
import { tokensOf, type UsageEnd, type UsageTally } from "../../services/UsageMeter.ts"

/** One attribute in OTLP's JSON: 64-bit integers are strings. */
interface KeyValue {
  readonly key: string
  readonly value: { readonly stringValue: string } | { readonly intValue: string }
}

/** A span in the JSON of OTLP (opentelemetry-proto `trace/v1/trace.proto`, its JSON mapping). */
export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: ReadonlyArray<KeyValue>
  readonly status: { readonly code: number; readonly message?: string }
}

/** Who and when, from the start of a stream. */
export interface SpanStart {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  /** Nanoseconds since the epoch. */
  readonly startedAt: bigint
}

const kindServer = 2
const status = { unset: 0, ok: 1, error: 2 }

const text = (key: string, value: string): ReadonlyArray<KeyValue> =>
  value === "" ? [] : [{ key, value: { stringValue: value } }]

const int = (key: string, value: number | undefined): ReadonlyArray<KeyValue> =>
  value === undefined || !Number.isFinite(value) ? [] : [{ key, value: { intValue: String(Math.round(value)) } }]

/**
 * The span of a stream that is over. Names follow OpenTelemetry's conventions for RPC and generative AI where they have
 * one; ours begin with `cy.`. No prompt, no answer and no player stands in it.
 */
export const streamSpan = (
  start: SpanStart,
  endedAt: bigint,
  tally: UsageTally | undefined,
  end: UsageEnd
): OtlpSpan => ({
  traceId: start.traceId,
  spanId: start.spanId,
  ...(start.parentSpanId === undefined ? {} : { parentSpanId: start.parentSpanId }),
  name: "cy.llm.AiInference/StreamPredict",
  kind: kindServer,
  startTimeUnixNano: String(start.startedAt),
  endTimeUnixNano: String(endedAt),
  attributes: [
    ...text("rpc.system", "grpc"),
    ...text("rpc.service", "cy.llm.AiInference"),
    ...text("rpc.method", "StreamPredict"),
    ...int("rpc.grpc.status_code", end.grpcStatus),
    ...text("gen_ai.request.model", tally?.identity?.modelId ?? ""),
    ...int("gen_ai.usage.input_tokens", tally?.promptTokens),
    ...int("gen_ai.usage.output_tokens", tally === undefined ? undefined : tokensOf(tally)),
    ...text("cy.outcome", end.outcome),
    ...text("cy.trace_id", tally?.identity?.traceId ?? ""),
    ...text("cy.record_id", tally?.recordId ?? ""),
    ...int("cy.ttft_ms", tally?.ttftMillis),
    ...int("cy.held_ms", tally?.heldMillis),
    ...int("cy.replays", tally?.replays),
    ...int("cy.chunks", tally?.chunks)
  ],
  status: end.outcome === "completed"
    ? { code: status.ok }
    : end.outcome === "cancelled"
    ? { code: status.unset }
    : { code: status.error, message: `${end.outcome}: ${codeName(end.grpcStatus)}` }
})

/** The body of a POST to `/v1/traces`. */
export const exportRequest = (
  spans: ReadonlyArray<OtlpSpan>,
  resource: { readonly service: string; readonly version: string; readonly instance: string }
) => ({
  resourceSpans: [{
    resource: {
      attributes: [
        ...text("service.name", resource.service),
        ...text("service.version", resource.version),
        ...text("service.instance.id", resource.instance)
      ]
    },
    scopeSpans: [{ scope: { name: "cy-llm-sidecar", version: resource.version }, spans }]
  }]
})
