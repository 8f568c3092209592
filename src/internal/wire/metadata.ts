import { type Metadata, neverIndexed } from "../../services/Wire.ts"

/**
 * What metadata may pass the sidecar, in either direction. A key that reaches a peer's HTTP/2 library but is not legal
 * there can break the whole connection (`http2-settings`, a second `authorization`), and a header list over 8 KiB makes
 * a C-core peer fail every call of the connection. So metadata is always built anew from what may pass.
 */

/** Hop-by-hop and connection headers (RFC 9113 §8.2.2), and what each hop's own HTTP/2 or gRPC library sets. */
const NEVER: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "te",
  "trailer",
  "host",
  "content-length",
  "content-type",
  "content-encoding",
  "date",
  "accept-encoding",
  "user-agent",
  "expect",
  "cookie",
  "set-cookie"
])

/** The `grpc-` keys that belong to the caller and the worker, not to a hop. */
const PASSING_GRPC: ReadonlySet<string> = new Set([
  "grpc-status-details-bin",
  "grpc-retry-pushback-ms",
  "grpc-trace-bin",
  "grpc-tags-bin"
])

/** Keys of which HTTP libraries refuse a second value. Of several values the first is meant. */
const SINGLE: ReadonlySet<string> = new Set([
  "access-control-allow-credentials",
  "access-control-max-age",
  "access-control-request-method",
  "age",
  "authorization",
  "content-language",
  "content-location",
  "content-md5",
  "content-range",
  "dnt",
  "etag",
  "expires",
  "from",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "proxy-authorization",
  "range",
  "referer",
  "retry-after",
  "tk",
  "upgrade-insecure-requests",
  "x-content-type-options"
])

const KEY = /^[0-9a-z_.-]+$/
/** Printable ASCII (gRPC over HTTP/2, "ASCII-Value"). */
const ASCII_VALUE = /^[\x20-\x7e]*$/
const BASE64_VALUE = /^[A-Za-z0-9+/]*={0,2}$/

/** What HTTP/2 counts for one header field (RFC 9113 §6.5.2: name + value + 32). */
const fieldSize = (key: string, value: string): number => key.length + value.length + 32

const mayPass = (key: string): boolean =>
  !NEVER.has(key) && KEY.test(key) && (!key.startsWith("grpc-") || PASSING_GRPC.has(key))

const wellFormed = (key: string, value: string): boolean =>
  key.endsWith("-bin") ? BASE64_VALUE.test(value) : ASCII_VALUE.test(value)

/** Node joins repeated fields with ", "; base64 has no comma, so binary values can be told apart again. */
const valuesOf = (key: string, value: string | ReadonlyArray<string>): ReadonlyArray<string> => {
  if (typeof value !== "string") return SINGLE.has(key) ? value.slice(0, 1) : value
  return key.endsWith("-bin") && value.includes(",") ? value.split(/,\s*/) : [value]
}

/** Metadata that may be sent on. */
export interface Passed {
  readonly metadata: Record<string, string | Array<string>> & { [neverIndexed]?: ReadonlySet<string> }
  /** Size as HTTP/2 counts it. */
  readonly bytes: number
  /** A field did not fit into the budget and was left out. */
  readonly cut: boolean
}

/**
 * Builds metadata anew from what may pass. Fields beyond `budget` bytes are left out (and `cut` is set), so that what is
 * returned is always safe to send.
 */
export const pass = (source: Metadata, budget = Number.POSITIVE_INFINITY): Passed => {
  // Without a prototype: a gateway may call a key `constructor` or `__proto__`.
  const metadata: Passed["metadata"] = Object.create(null)
  const sensitive = source[neverIndexed]
  if (sensitive !== undefined) metadata[neverIndexed] = sensitive
  let bytes = 0
  let cut = false
  for (const key in source) {
    const value = source[key]
    if (value === undefined || !mayPass(key)) continue
    for (const one of valuesOf(key, value)) {
      if (!wellFormed(key, one)) continue
      const size = fieldSize(key, one)
      if (bytes + size > budget) {
        cut = true
        continue
      }
      bytes += size
      const before = metadata[key]
      if (before === undefined) metadata[key] = one
      else if (typeof before === "string") metadata[key] = [before, one]
      else before.push(one)
    }
  }
  return { metadata, bytes, cut }
}

/** The first value of a key. */
export const first = (metadata: Metadata, key: string): string | undefined => {
  const value = metadata[key]
  return typeof value === "string" ? value : value?.[0]
}

/** Size of metadata as HTTP/2 counts it. */
export const sizeOf = (metadata: Metadata): number => {
  let bytes = 0
  for (const key in metadata) {
    const value = metadata[key]
    if (value === undefined) continue
    if (typeof value === "string") bytes += fieldSize(key, value)
    else for (const one of value) bytes += fieldSize(key, one)
  }
  return bytes
}
