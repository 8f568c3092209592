import type { Metadata } from "../../services/Wire.ts"
import { Writer } from "../wire/protobuf.ts"
import { type LoadFigures, loadFigures, type LoadSource } from "./loadFigures.ts"

/**
 * How a caller wants to read a report in its trailers: `endpoint-load-metrics-bin` (gRFC A51), or `endpoint-load-metrics` in
 * the words that Envoy and inference servers share.
 */
export type LoadFormat = "bin" | "text" | "json"

/** A report serves all who want one within this time. Milliseconds. */
const FRESH = 100

/** A report, put into each of its forms when that is wanted first. */
interface Report {
  readonly at: number
  readonly figures: LoadFigures
  bytes: Uint8Array | undefined
  readonly trailers: Map<LoadFormat, Metadata>
}

const entries = (out: Writer, field: number, map: LoadFigures["named"]): void => {
  for (const [key, value] of map) out.message(field, new Writer().string(1, key).double(2, value))
}

/** `xds.data.orca.v3.OrcaLoadReport`. */
const encode = ({ errorsPerSecond, fractions, named, streamsPerSecond, utilization }: LoadFigures): Uint8Array => {
  const out = new Writer()
  entries(out, 5, fractions)
  out.double(6, streamsPerSecond).double(7, errorsPerSecond)
  entries(out, 8, named)
  return out.double(9, utilization).finish()
}

const textOf = (figures: LoadFigures): string =>
  [
    ["application_utilization", figures.utilization] as const,
    ["rps_fractional", figures.streamsPerSecond] as const,
    ["eps", figures.errorsPerSecond] as const,
    ...figures.fractions.map(([key, value]) => [`utilization.${key}`, value] as const),
    ...figures.named.map(([key, value]) => [`named_metrics.${key}`, value] as const)
  ].map(([key, value]) => `${key}=${value}`).join(", ")

const jsonOf = (figures: LoadFigures): string =>
  JSON.stringify({
    application_utilization: figures.utilization,
    rps_fractional: figures.streamsPerSecond,
    eps: figures.errorsPerSecond,
    utilization: Object.fromEntries(figures.fractions),
    named_metrics: Object.fromEntries(figures.named)
  })

/** Load reports (ORCA) for all callers: made at most ten times a second, whoever asks. */
export interface LoadReports {
  /** `xds.data.orca.v3.OrcaLoadReport`. */
  readonly bytes: () => Uint8Array
  /** The trailer of that form. */
  readonly trailer: (format: LoadFormat) => Metadata
}

export const makeLoadReports = (source: LoadSource): LoadReports => {
  const read = loadFigures(source)
  let last: Report | undefined
  const report = (): Report => {
    const at = source.now()
    if (last === undefined || at - last.at >= FRESH) {
      last = { at, figures: read(), bytes: undefined, trailers: new Map() }
    }
    return last
  }
  const bytesOf = (one: Report): Uint8Array => one.bytes ??= encode(one.figures)
  const trailerOf = (one: Report, format: LoadFormat): Metadata => {
    switch (format) {
      case "bin":
        return { "endpoint-load-metrics-bin": Buffer.from(bytesOf(one)).toString("base64").replace(/=+$/, "") }
      case "text":
        return { "endpoint-load-metrics": `TEXT ${textOf(one.figures)}` }
      case "json":
        return { "endpoint-load-metrics": `JSON ${jsonOf(one.figures)}` }
    }
  }
  return {
    bytes: () => bytesOf(report()),
    trailer: (format) => {
      const one = report()
      const known = one.trailers.get(format)
      if (known !== undefined) return known
      const trailer = trailerOf(one, format)
      one.trailers.set(format, trailer)
      return trailer
    }
  }
}
