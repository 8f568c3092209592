import type { Metadata } from "../../services/Wire.ts"

/** A `traceparent` header (W3C Trace Context), version 00. */
export interface TraceParent {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** 16 hexadecimal digits. */
  readonly spanId: string
  readonly sampled: boolean
}

const pattern = /^([\da-f]{2})-([\da-f]{32})-([\da-f]{16})-([\da-f]{2})(-.*)?$/

/** The parent a caller named; `undefined` when there is none, more than one, or none that the recommendation accepts. */
export const parseTraceParent = (metadata: Metadata): TraceParent | undefined => {
  const header = metadata["traceparent"]
  const [, version, traceId, spanId, flags, more] = typeof header === "string" ? pattern.exec(header) ?? [] : []
  if (version === undefined || traceId === undefined || spanId === undefined || flags === undefined) return undefined
  // Version 00 has exactly four fields; later ones may have more; ff is forbidden, and so are ids of zeros.
  if (version === "ff" || (version === "00" && more !== undefined)) return undefined
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 }
}

/** The header for whoever comes next. */
export const formatTraceParent = ({ sampled, spanId, traceId }: TraceParent): string =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`
