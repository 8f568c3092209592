import { BillingVerdict } from "../../services/BillingSink.ts"

/** A service that asks for more than this is asked again all the same. Milliseconds. */
const longestWait = 3_600_000

/**
 * `Retry-After` in milliseconds from `now`: a number of seconds, or an HTTP date (RFC 9110 §10.2.3). At most an hour.
 */
export const retryAfterMillis = (header: string | undefined, now: number): number | undefined => {
  const value = header?.trim() ?? ""
  const millis = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now
  return Number.isNaN(millis) ? undefined : Math.min(Math.max(millis, 0), longestWait)
}

/** Whoever answers like this does not judge the records: the address, the key or the proxy before it is wrong. */
const notAboutRecords: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 407, 410, 415])

const keyAtFault = (status: number, credentials: string | undefined): string => {
  if (status === 415) return "billing_format"
  return credentials !== undefined && (status === 401 || status === 403 || status === 407)
    ? credentials
    : "billing_endpoint"
}

/**
 * What an HTTP status says about a batch (docs/design.md §7). `detail`: the status and the first words of the answer;
 * `credentials`: the key by which we are known, if there is one.
 */
export const verdictOf = (
  status: number,
  detail: string,
  retryAfter: number | undefined,
  credentials?: string | undefined
): BillingVerdict => {
  if (status >= 200 && status < 300) return BillingVerdict.Accepted({ duplicate: false })
  if (status === 409) return BillingVerdict.Accepted({ duplicate: true })
  if (status === 413) return BillingVerdict.TooLarge()
  if (status === 408 || status === 425 || status === 429 || status >= 500) {
    return BillingVerdict.Later({ reason: status >= 500 ? "error" : "busy", detail, retryAfterMillis: retryAfter })
  }
  if (status < 400 || notAboutRecords.has(status)) {
    return BillingVerdict.Later({
      reason: "misconfigured",
      detail,
      retryAfterMillis: retryAfter,
      remedy: `check [metering] ${keyAtFault(status, credentials)}`
    })
  }
  return BillingVerdict.Refused({ detail })
}
