import { codeName } from "../../services/Status.ts"
import type { SpanEnd, SpanEvent } from "../../services/StreamTracer.ts"
import { tokensOf, type UsageTally } from "../../services/UsageMeter.ts"

/** One attribute in OTLP's JSON: 64-bit integers are strings. */
export interface KeyValue {
  readonly key: string
  readonly value:
    | { readonly stringValue: string }
    | { readonly intValue: string }
    | { readonly doubleValue: number }
    | { readonly boolValue: boolean }
}

/** A point on a span. */
export interface OtlpEvent {
  readonly timeUnixNano: string
  readonly name: string
}

/** A span in the JSON of OTLP (opentelemetry-proto `trace/v1/trace.proto`, its JSON mapping). */
export interface OtlpSpan {
  readonly traceId: string
  readonly spanId: string
  readonly traceState?: string
  readonly parentSpanId?: string
  readonly flags: number
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: ReadonlyArray<KeyValue>
  readonly events: ReadonlyArray<OtlpEvent>
  readonly status: { readonly code: number; readonly message?: string }
}

/** Who and when, from the start of a stream. */
export interface SpanStart {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  /** The caller's `tracestate`. */
  readonly traceState: string | undefined
  /** Nanoseconds since the epoch. */
  readonly startedAt: bigint
}

/** A span that is over, as it waits: it is put into OTLP's words when it leaves. */
export interface EndedSpan extends SpanStart {
  readonly endedAt: bigint
  readonly tally: UsageTally | undefined
  readonly end: SpanEnd
  readonly events: ReadonlyArray<{ readonly name: SpanEvent; readonly at: bigint }>
}

const METHOD = "cy.llm.AiInference/StreamPredict"
const kindServer = 2
const status = { unset: 0, ok: 1, error: 2 }
/** Trace flags: sampled. Beyond them: it is known whether the parent is remote, and it is (`SpanFlags` of trace.proto). */
const flags = { sampled: 0x01, knowsParent: 0x100, parentIsRemote: 0x200 }

const text = (key: string, value: string | undefined): ReadonlyArray<KeyValue> =>
  value === undefined || value === "" ? [] : [{ key, value: { stringValue: value } }]

const int = (key: string, value: number | undefined): ReadonlyArray<KeyValue> =>
  value === undefined || !Number.isFinite(value) ? [] : [{ key, value: { intValue: String(Math.round(value)) } }]

const seconds = (key: string, millis: number | undefined): ReadonlyArray<KeyValue> =>
  millis === undefined || !Number.isFinite(millis) ? [] : [{ key, value: { doubleValue: millis / 1000 } }]

const streaming: KeyValue = { key: "gen_ai.request.stream", value: { boolValue: true } }

/** Why it failed, in few words that are always the same: our reason, or the name of the worker's status. */
const errorType = ({ end }: EndedSpan): string | undefined => {
  if (end.outcome === "completed") return undefined
  const reason = end.status?.metadata["cy-reason"]
  return typeof reason === "string" && reason !== "" ? reason : codeName(end.grpcStatus)
}

const statusOf = ({ end }: EndedSpan): OtlpSpan["status"] => {
  if (end.outcome === "completed") return { code: status.ok }
  if (end.outcome === "cancelled") return { code: status.unset }
  return { code: status.error, message: `${end.outcome}: ${codeName(end.grpcStatus)}` }
}

/**
 * The span of a stream that is over. Names follow OpenTelemetry's conventions for gRPC and generative AI where they have
 * one (`rpc.system` and `rpc.grpc.status_code` are the older names of two of them); ours begin with `cy.`. No prompt, no
 * answer and no player stands in it.
 */
export const streamSpan = (span: EndedSpan): OtlpSpan => {
  const { end, tally } = span
  const code = codeName(end.grpcStatus)
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.traceState === undefined ? {} : { traceState: span.traceState }),
    ...(span.parentSpanId === undefined ? {} : { parentSpanId: span.parentSpanId }),
    flags: flags.sampled | flags.knowsParent | (span.parentSpanId === undefined ? 0 : flags.parentIsRemote),
    name: METHOD,
    kind: kindServer,
    startTimeUnixNano: String(span.startedAt),
    endTimeUnixNano: String(span.endedAt),
    attributes: [
      ...text("rpc.system.name", "grpc"),
      ...text("rpc.system", "grpc"),
      ...text("rpc.method", METHOD),
      ...text("rpc.response.status_code", code),
      ...int("rpc.grpc.status_code", end.grpcStatus),
      ...text("error.type", errorType(span)),
      ...text("gen_ai.operation.name", "text_completion"),
      ...text("gen_ai.provider.name", "cy-llm"),
      streaming,
      ...text("gen_ai.request.model", tally?.identity?.modelId),
      ...int("gen_ai.usage.input_tokens", tally?.promptTokens),
      ...int("gen_ai.usage.output_tokens", tally === undefined ? undefined : tokensOf(tally)),
      ...seconds("gen_ai.response.time_to_first_chunk", tally?.ttftMillis),
      ...text("cy.outcome", end.outcome),
      ...text("cy.trace_id", tally?.identity?.traceId),
      ...text("cy.record_id", tally?.recordId),
      ...int("cy.ttft_ms", tally?.ttftMillis),
      ...int("cy.held_ms", tally?.heldMillis),
      ...int("cy.replays", tally?.replays),
      ...int("cy.chunks", tally?.chunks)
    ],
    events: span.events.map(({ at, name }) => ({ timeUnixNano: String(at), name })),
    status: statusOf(span)
  }
}

/** Everything of one request to a collector (`ExportTraceServiceRequest`). */
export interface TracesData {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: { readonly attributes: ReadonlyArray<KeyValue> }
    readonly scopeSpans: ReadonlyArray<{
      readonly scope: { readonly name: string; readonly version: string }
      readonly spans: ReadonlyArray<OtlpSpan>
    }>
  }>
}

/** The body of a POST to `/v1/traces`. */
export const tracesData = (
  spans: ReadonlyArray<EndedSpan>,
  resource: Readonly<Record<string, string>>,
  version: string
): TracesData => ({
  resourceSpans: [{
    resource: { attributes: Object.entries(resource).flatMap(([key, value]) => text(key, value)) },
    scopeSpans: [{ scope: { name: "cy-llm-sidecar", version }, spans: spans.map(streamSpan) }]
  }]
})
