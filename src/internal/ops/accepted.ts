/** One element of a request's `Accept` or `Accept-Encoding`. */
export interface Accepted {
  /** In lower case, without parameters. */
  readonly value: string
  readonly parameters: ReadonlyMap<string, string>
  /** Its weight, 0 to 1; 0 is "not acceptable" (RFC 9110 §12.4.2). */
  readonly weight: number
}

/** No client that means something names more. */
const MOST = 32

const weightOf = (text: string | undefined): number => {
  if (text === undefined) return 1
  const weight = Number(text)
  return weight >= 0 && weight <= 1 ? weight : 0
}

/** What a request accepts, as it was written. */
export const accepted = (header: string | undefined): ReadonlyArray<Accepted> =>
  (header ?? "").toLowerCase().split(",", MOST).map((element) => {
    const [value = "", ...rest] = element.split(";", MOST).map((part) => part.trim())
    const parameters = new Map(rest.map((part) => {
      const at = part.indexOf("=")
      return at < 0 ? [part, ""] as const : [part.slice(0, at).trim(), part.slice(at + 1).trim()] as const
    }))
    return { value, parameters, weight: weightOf(parameters.get("q")) }
  })

const weightAmong = (all: ReadonlyArray<Accepted>, fits: (one: Accepted) => boolean): number | undefined => {
  const weights = all.filter(fits).map(({ weight }) => weight)
  return weights.length === 0 ? undefined : Math.max(...weights)
}

/** Whether the answer may be compressed with gzip (RFC 9110 §12.5.3). */
export const acceptsGzip = (header: string | undefined): boolean => {
  const all = accepted(header)
  const named = weightAmong(all, ({ value }) => value === "gzip" || value === "x-gzip")
  return (named ?? weightAmong(all, ({ value }) => value === "*") ?? 0) > 0
}

/** Whether OpenMetrics 1.0 is asked for by name, and not less than the text format. */
export const prefersOpenMetrics = (header: string | undefined): boolean => {
  const all = accepted(header)
  const openMetrics = weightAmong(
    all,
    ({ parameters, value }) =>
      value === "application/openmetrics-text" && (parameters.get("version") ?? "1.0.0") === "1.0.0"
  )
  const text = weightAmong(all, ({ value }) => value === "text/plain")
  return openMetrics !== undefined && openMetrics > 0 && openMetrics >= (text ?? 0)
}
