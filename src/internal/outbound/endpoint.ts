import { unescaped } from "../../services/BillingEndpoint.ts"
import { secretParameter } from "../config/show.ts"

/** Where we post to, from the configuration. */
export interface Endpoint {
  /** Without credentials: it may be shown. */
  readonly url: URL
  /** The value of `Authorization` (RFC 7617) when the address had a user name or a password; never to be shown. */
  readonly authorization: string | undefined
}

/** Splits a URL; credentials that cannot be decoded are taken as they are written. */
export const endpointOf = (address: string): Endpoint => {
  const url = new URL(address)
  const [user, password] = [url.username, url.password].map((part) => unescaped(part) ?? part)
  url.username = ""
  url.password = ""
  const given = user !== "" || password !== ""
  return { url, authorization: given ? basic(`${user}:${password}`) : undefined }
}

const basic = (credentials: string): string => `Basic ${Buffer.from(credentials).toString("base64")}`

/** What nobody may read of an address, as it may come back in the words of whoever answers there. */
export const secretsOf = (address: string): ReadonlyArray<string> => {
  const { authorization, url } = endpointOf(address)
  const { password, username } = new URL(address)
  // Where there is no password, the name is the key (as Stripe has it).
  const secret = password === "" ? username : password
  return [
    ...(authorization === undefined ? [] : [authorization.slice("Basic ".length), unescaped(secret) ?? secret]),
    ...[...url.searchParams].flatMap(([name, value]) => secretParameter.test(name) ? [value] : [])
  ]
}
