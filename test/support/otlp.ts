import { Schema } from "effect"
import { fileURLToPath } from "node:url"
import { gunzipSync } from "node:zlib"
import protobuf from "protobufjs"

const Attributes = Schema.Array(Schema.Struct({
  key: Schema.String,
  value: Schema.Struct({
    stringValue: Schema.optionalKey(Schema.String),
    boolValue: Schema.optionalKey(Schema.Boolean),
    intValue: Schema.optionalKey(Schema.String),
    doubleValue: Schema.optionalKey(Schema.Finite)
  })
}))

const Hex = (digits: number) => Schema.String.check(Schema.isPattern(new RegExp(`^[\\da-f]{${digits}}$`)))

const Span = Schema.Struct({
  traceId: Hex(32),
  spanId: Hex(16),
  parentSpanId: Schema.optionalKey(Hex(16)),
  traceState: Schema.optionalKey(Schema.String),
  flags: Schema.Int,
  name: Schema.String,
  kind: Schema.Int,
  startTimeUnixNano: Schema.String,
  endTimeUnixNano: Schema.String,
  attributes: Attributes,
  events: Schema.optionalKey(Schema.Array(Schema.Struct({ timeUnixNano: Schema.String, name: Schema.String }))),
  status: Schema.Struct({ code: Schema.optionalKey(Schema.Int), message: Schema.optionalKey(Schema.String) })
})

/** The part of OTLP's trace request that a collector reads, in its JSON; anything else in it is a mistake. */
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

const decodeJson = Schema.decodeUnknownSync(ExportRequest, { onExcessProperty: "error" })

const schema = protobuf.loadSync(fileURLToPath(new URL("../fixtures/otlp/trace.proto", import.meta.url)))
const Message = schema.lookupType("opentelemetry.proto.ExportTraceServiceRequest")
const Answer = schema.lookupType("opentelemetry.proto.ExportTraceServiceResponse")

const fromProtobuf = (bytes: Uint8Array): unknown => {
  const message = Message.decode(bytes)
  const object = Message.toObject(message, { longs: String, enums: Number, bytes: String })
  // What the schema does not know would be missing here: decoding and encoding loses nothing.
  if (!Buffer.from(Message.encode(message).finish()).equals(Buffer.from(bytes))) throw new Error("unknown fields")
  return JSON.parse(
    JSON.stringify(object),
    (key, value: unknown) =>
      /^(traceId|spanId|parentSpanId)$/.test(key) && typeof value === "string"
        ? Buffer.from(value, "base64").toString("hex")
        : value
  )
}

/** A span as a backend shows it. */
export interface SeenSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly traceState: string | undefined
  readonly flags: number
  readonly name: string
  readonly kind: number
  readonly startedAt: bigint
  readonly endedAt: bigint
  readonly attributes: Readonly<Record<string, string | number | boolean | undefined>>
  /** By name, in order. */
  readonly events: ReadonlyArray<{ readonly name: string; readonly at: bigint }>
  /** 0 unset, 1 ok, 2 error. */
  readonly status: { readonly code: number; readonly message: string }
}

export interface SeenReport {
  readonly encoding: "json" | "protobuf"
  readonly resource: Readonly<Record<string, string | number | boolean | undefined>>
  readonly spans: ReadonlyArray<SeenSpan>
}

const record = (attributes: typeof Attributes.Type): SeenSpan["attributes"] =>
  Object.fromEntries(attributes.map(({ key, value }) => [
    key,
    value.stringValue ?? value.boolValue ?? value.doubleValue ??
      (value.intValue === undefined ? undefined : Number(value.intValue))
  ]))

/** A POST to `/v1/traces` as a collector understands it. Throws where it would answer 400. */
export const readReport = (
  headers: Readonly<Record<string, string | ReadonlyArray<string> | undefined>>,
  body: Uint8Array
): SeenReport => {
  const bytes = headers["content-encoding"] === "gzip" ? gunzipSync(body) : body
  const encoding = headers["content-type"] === "application/x-protobuf" ? "protobuf" : "json"
  const { resourceSpans: [{ resource, scopeSpans: [{ spans }] }] } = decodeJson(
    encoding === "protobuf" ? fromProtobuf(bytes) : JSON.parse(Buffer.from(bytes).toString("utf8"))
  )
  return {
    encoding,
    resource: record(resource.attributes),
    spans: spans.map((span) => ({
      traceId: span.traceId,
      spanId: span.spanId,
      parentSpanId: span.parentSpanId,
      traceState: span.traceState,
      flags: span.flags,
      name: span.name,
      kind: span.kind,
      startedAt: BigInt(span.startTimeUnixNano),
      endedAt: BigInt(span.endTimeUnixNano),
      attributes: record(span.attributes),
      events: (span.events ?? []).map(({ name, timeUnixNano }) => ({ name, at: BigInt(timeUnixNano) })),
      status: { code: span.status.code ?? 0, message: span.status.message ?? "" }
    }))
  }
}

/** What a collector answers that took a protobuf report and left some of its spans out. */
export const partialSuccess = (rejectedSpans: number, errorMessage: string): Uint8Array =>
  Answer.encode(Answer.fromObject({ partialSuccess: { rejectedSpans, errorMessage } })).finish()
