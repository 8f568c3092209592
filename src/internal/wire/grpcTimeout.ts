/** Milliseconds per unit of `grpc-timeout` (gRPC over HTTP/2, "TimeoutUnit"). */
const UNITS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

const MAX_VALUE = 99_999_999

/**
 * `grpc-timeout` in milliseconds. `undefined` when there is none, `NaN` when it is not of the form "at most 8 digits and
 * a unit".
 */
export const parse = (value: string | undefined): number | undefined => {
  if (value === undefined) return undefined
  const match = /^(\d{1,8})([HMSmun])$/.exec(value)
  const unit = UNITS[match?.[2] ?? ""]
  return match === null || unit === undefined ? Number.NaN : Number(match[1]) * unit
}

/** Milliseconds as `grpc-timeout`, rounded up in the finest unit that fits 8 digits; at least one millisecond. */
export const format = (millis: number): string => {
  if (millis <= 1) return "1m"
  if (millis <= MAX_VALUE) return `${Math.ceil(millis)}m`
  if (millis / 1000 <= MAX_VALUE) return `${Math.ceil(millis / 1000)}S`
  return `${Math.min(MAX_VALUE, Math.ceil(millis / 3_600_000))}H`
}
