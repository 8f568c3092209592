import { isNatsAddress, unescaped } from "../../services/BillingEndpoint.ts"

/** Whether each `%` of an address's credentials begins an escape (RFC 3986 §2.1) and the bytes are UTF-8. */
export const hasReadableCredentials = (address: string): boolean => {
  if (isNatsAddress(address)) return unescaped(/^\w+:\/\/([^/]*)@/.exec(address)?.[1] ?? "") !== undefined
  const { password, username } = new URL(address)
  return unescaped(username) !== undefined && unescaped(password) !== undefined
}

/** Whether an address brings a user name, a password or a token of its own. */
export const hasCredentials = (address: string): boolean => /^\w+:\/\/[^/?#]*@/.test(address)
