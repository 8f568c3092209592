import * as grpc from "@grpc/grpc-js"
import type { Metadata } from "../../services/Wire.ts"

/** grpc-js's metadata as ours: lower-case keys, `-bin` values in base64. */
export const fromGrpcJs = (source: grpc.Metadata): Metadata => {
  const out: Record<string, string | Array<string>> = {}
  for (const [key, value] of Object.entries(source.toHttp2Headers())) {
    if (value === undefined) continue
    const values = Array.isArray(value) ? value : [String(value)]
    const [first] = values
    if (first === undefined) continue
    out[key] = values.length === 1 ? first : values
  }
  return out
}

/** Ours as grpc-js's. Expects what `internal/wire/metadata.ts` lets pass: grpc-js throws for keys and values that are not legal. */
export const toGrpcJs = (source: Metadata): grpc.Metadata => {
  const out = new grpc.Metadata()
  for (const key in source) {
    const value = source[key]
    if (value === undefined) continue
    for (const one of typeof value === "string" ? [value] : value) {
      out.add(key, key.endsWith("-bin") ? Buffer.from(one, "base64") : one)
    }
  }
  return out
}
