import { type Endpoint, endpointOf } from "../outbound/endpoint.ts"
import { text, visit } from "../wire/protobuf.ts"

/** The address of a collector's traces: the key names its base, or already that one (OTLP specification, "OTLP/HTTP"). */
export const tracesEndpoint = (address: string): Endpoint => {
  const { authorization, url } = endpointOf(address)
  const path = url.pathname.replace(/\/+$/, "")
  url.pathname = path.endsWith("/v1/traces") ? path : `${path}/v1/traces`
  return { authorization, url }
}

/** What a collector that took a request left out of it. */
export interface Rejected {
  readonly spans: number
  readonly message: string
}

const nothing: Rejected = { spans: 0, message: "" }

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? new Map<string, unknown>(Object.entries(value)).get(name) : undefined

const isCount = (spans: number): boolean => Number.isSafeInteger(spans) && spans > 0

/**
 * `partial_success` of ExportTraceServiceResponse, in JSON. An answer that is no such message rejects nothing.
 */
export const rejectedSpans = (json: string): Rejected => {
  try {
    const partial = fieldOf(JSON.parse(json), "partialSuccess")
    const spans = Number(fieldOf(partial, "rejectedSpans") ?? 0)
    const message = fieldOf(partial, "errorMessage")
    return { spans: isCount(spans) ? spans : 0, message: typeof message === "string" ? message : "" }
  } catch {
    return nothing
  }
}

/** The same in protobuf. */
export const rejectedSpansOf = (message: Uint8Array): Rejected => {
  let partial: Uint8Array | undefined
  const found = { spans: 0, message: "" }
  const valid = visit(message, { bytes: (field, bytes) => void (field === 1 && (partial = bytes)) }) &&
    visit(partial ?? new Uint8Array(), {
      varint: (field, value) => void (field === 1 && isCount(value) && (found.spans = value)),
      bytes: (field, bytes) => void (field === 2 && (found.message = text(bytes)))
    })
  return valid ? found : nothing
}

/** The words of a `google.rpc.Status`, in which a collector refuses what came as protobuf. */
export const statusWords = (message: Uint8Array): string => {
  let words: Uint8Array | undefined
  const valid = visit(message, { bytes: (field, bytes) => void (field === 2 && (words = bytes)) })
  return valid && words !== undefined ? text(words) : ""
}
