/** Fields whose values are credentials, whatever their last word is. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  "authorization",
  "proxy-authorization",
  "authentication-info",
  "cookie",
  "cookie2",
  "set-cookie",
  "set-cookie2"
])

/** The last word of a name, after the last "-", "_" or ".", or all of it. */
const SECRET_WORDS: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "credential",
  "credentials",
  "jwt",
  "key",
  "apikey",
  "passphrase",
  "password",
  "passwd",
  "secret",
  "session",
  "signature",
  "token"
])

/**
 * Whether values of the field `name` (lower case) must never enter a compression table, here or further on
 * (RFC 7541 §7.1.3): in a table a peer could guess them, one guess a request (RFC 7541 §7.1). `-bin`, gRPC's mark of a
 * binary value, is no word of the name.
 */
export const isSecret = (name: string): boolean => {
  if (SECRET_NAMES.has(name)) return true
  const end = name.endsWith("-bin") ? name.length - 4 : name.length
  let start = end
  while (start > 0 && !isSeparator(name.charCodeAt(start - 1))) start--
  return SECRET_WORDS.has(name.slice(start, end))
}

const isSeparator = (unit: number): boolean => unit === 0x2d || unit === 0x5f || unit === 0x2e
