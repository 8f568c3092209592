import { Writer } from "../wire/protobuf.ts"
import type { KeyValue, OtlpSpan, TracesData } from "./otlpSpan.ts"

/**
 * OTLP's traces in protobuf (opentelemetry-proto, `trace/v1/trace.proto`, `common/v1/common.proto`).
 *
 * Effect's own encoder takes 250 µs for one span of a stream, more than the whole stream may cost and a hundred
 * milliseconds of the event loop for one request to the collector.
 */

const attribute = ({ key, value }: KeyValue): Writer => {
  const any = new Writer()
  if ("stringValue" in value) any.string(1, value.stringValue)
  else if ("boolValue" in value) any.varint(2, value.boolValue ? 1 : 0)
  else if ("intValue" in value) any.varint(3, Number(value.intValue))
  else any.double(4, value.doubleValue)
  return new Writer().string(1, key).message(2, any)
}

const hex = (digits: string): Uint8Array => Buffer.from(digits, "hex")

const spanOf = (span: OtlpSpan): Writer => {
  const out = new Writer().bytes(1, hex(span.traceId)).bytes(2, hex(span.spanId))
  if (span.traceState !== undefined) out.string(3, span.traceState)
  if (span.parentSpanId !== undefined) out.bytes(4, hex(span.parentSpanId))
  out.string(5, span.name).varint(6, span.kind)
    .fixed64(7, BigInt(span.startTimeUnixNano)).fixed64(8, BigInt(span.endTimeUnixNano))
  for (const one of span.attributes) out.message(9, attribute(one))
  for (const event of span.events) {
    out.message(11, new Writer().fixed64(1, BigInt(event.timeUnixNano)).string(2, event.name))
  }
  const status = new Writer()
  if (span.status.message !== undefined) status.string(2, span.status.message)
  return out.message(15, status.varint(3, span.status.code)).fixed32(16, span.flags)
}

/** `ExportTraceServiceRequest`, which is `TracesData` on the wire. */
export const encodeTraces = ({ resourceSpans }: TracesData): Uint8Array => {
  const out = new Writer()
  for (const { resource, scopeSpans } of resourceSpans) {
    const described = new Writer()
    for (const one of resource.attributes) described.message(1, attribute(one))
    const group = new Writer().message(1, described)
    for (const { scope, spans } of scopeSpans) {
      const list = new Writer().message(1, new Writer().string(1, scope.name).string(2, scope.version))
      for (const span of spans) list.message(2, spanOf(span))
      group.message(2, list)
    }
    out.message(1, group)
  }
  return out.finish()
}
