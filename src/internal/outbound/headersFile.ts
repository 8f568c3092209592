/** Headers that a report brings itself, or that belong to the connection (RFC 9110 §7.6.1). */
const ours: ReadonlySet<string> = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "idempotency-key",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

/**
 * Reads a file of headers, `Name: value` a line; empty lines and lines that begin with `#` say nothing. By lower-case name;
 * a text: what is wrong, without a word of a value.
 */
export const readHeaders = (text: string): Readonly<Record<string, string>> | string => {
  const headers: Record<string, string> = {}
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue
    const [, name, value] =
      /^([!#$%&'*+.^_`|~\w-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)[ \t]*$/.exec(line) ?? []
    if (name === undefined || value === undefined) {
      return `line ${index + 1} is no header; write Name: value, in printable ASCII`
    }
    const key = name.toLowerCase()
    if (ours.has(key)) return `line ${index + 1} sets ${key}, which the sidecar sets itself; leave it out`
    if (Object.hasOwn(headers, key)) return `line ${index + 1} sets ${key} a second time; keep one of them`
    headers[key] = value
  }
  return headers
}
