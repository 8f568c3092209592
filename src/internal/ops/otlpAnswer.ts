import { type Endpoint, endpointOf } from "../outbound/endpoint.ts"

/** The address of a collector's traces: the key names its base, or already that one (OTLP specification, "OTLP/HTTP"). */
export const tracesEndpoint = (address: string): Endpoint => {
  const { authorization, url } = endpointOf(address)
  const path = url.pathname.replace(/\/+$/, "")
  url.pathname = path.endsWith("/v1/traces") ? path : `${path}/v1/traces`
  return { authorization, url }
}

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null ? new Map<string, unknown>(Object.entries(value)).get(name) : undefined

/**
 * What a collector that took a request left out of it (`partial_success` of ExportTraceServiceResponse, in JSON). An answer
 * that is no such message rejects nothing.
 */
export const rejectedSpans = (text: string): { readonly spans: number; readonly message: string } => {
  try {
    const partial = fieldOf(JSON.parse(text), "partialSuccess")
    const spans = Number(fieldOf(partial, "rejectedSpans") ?? 0)
    const message = fieldOf(partial, "errorMessage")
    return {
      spans: Number.isSafeInteger(spans) && spans > 0 ? spans : 0,
      message: typeof message === "string" ? message : ""
    }
  } catch {
    return { spans: 0, message: "" }
  }
}
