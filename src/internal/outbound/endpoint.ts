/** Where we post to, from the configuration. */
export interface Endpoint {
  /** Without credentials: it may be shown. */
  readonly url: URL
  /** The value of `Authorization` (RFC 7617) when the address had a user name or a password; never to be shown. */
  readonly authorization: string | undefined
}

/** Whether each `%` of a URL's credentials begins an escape (RFC 3986 §2.1) and the bytes are UTF-8. */
export const hasReadableCredentials = (address: string): boolean => {
  const { password, username } = new URL(address)
  return decoded(username) !== undefined && decoded(password) !== undefined
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

/** Splits a URL; credentials that cannot be decoded are taken as they are written. */
export const endpointOf = (address: string): Endpoint => {
  const url = new URL(address)
  const [user, password] = [url.username, url.password].map((part) => decoded(part) ?? part)
  url.username = ""
  url.password = ""
  const given = user !== "" || password !== ""
  return {
    url,
    authorization: given ? `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}` : undefined
  }
}
