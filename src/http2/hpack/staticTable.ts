/** The static table, in the order of its indexes from 1 (RFC 7541, Appendix A). */
const ENTRIES: ReadonlyArray<readonly [name: string, value: string]> = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language", ""],
  ["accept-ranges", ""],
  ["accept", ""],
  ["access-control-allow-origin", ""],
  ["age", ""],
  ["allow", ""],
  ["authorization", ""],
  ["cache-control", ""],
  ["content-disposition", ""],
  ["content-encoding", ""],
  ["content-language", ""],
  ["content-length", ""],
  ["content-location", ""],
  ["content-range", ""],
  ["content-type", ""],
  ["cookie", ""],
  ["date", ""],
  ["etag", ""],
  ["expect", ""],
  ["expires", ""],
  ["from", ""],
  ["host", ""],
  ["if-match", ""],
  ["if-modified-since", ""],
  ["if-none-match", ""],
  ["if-range", ""],
  ["if-unmodified-since", ""],
  ["last-modified", ""],
  ["link", ""],
  ["location", ""],
  ["max-forwards", ""],
  ["proxy-authenticate", ""],
  ["proxy-authorization", ""],
  ["range", ""],
  ["referer", ""],
  ["refresh", ""],
  ["retry-after", ""],
  ["server", ""],
  ["set-cookie", ""],
  ["strict-transport-security", ""],
  ["transfer-encoding", ""],
  ["user-agent", ""],
  ["vary", ""],
  ["via", ""],
  ["www-authenticate", ""]
]

/** How many entries the static table has; the first index of the dynamic table is one more (RFC 7541 §2.3.3). */
export const STATIC_ENTRIES = ENTRIES.length

/** Names by index; index 0 is not used (RFC 7541 §6.1). */
export const STATIC_NAMES: ReadonlyArray<string> = ["", ...ENTRIES.map(([name]) => name)]

/** Values by index. */
export const STATIC_VALUES: ReadonlyArray<string> = ["", ...ENTRIES.map(([, value]) => value)]

/** What the static table knows of one name. */
export interface StaticName {
  /** The lowest index with this name. */
  readonly index: number
  /** The values that stand beside it, at `index`, `index + 1`, …: the table keeps equal names together. */
  readonly values: ReadonlyArray<string>
}

/** The static table by name, for encoders. */
export const STATIC_BY_NAME: ReadonlyMap<string, StaticName> = new Map(
  [...new Set(STATIC_NAMES.slice(1))].map((name) => {
    const index = STATIC_NAMES.indexOf(name)
    return [name, { index, values: STATIC_VALUES.slice(index, STATIC_NAMES.lastIndexOf(name) + 1) }]
  })
)
