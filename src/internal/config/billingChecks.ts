import { parseBillingEndpoint } from "../../services/BillingEndpoint.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { Contradiction } from "./contradiction.ts"
import { hasCredentials } from "./credentials.ts"

const tlsKeys = ["billing_tls_ca", "billing_tls_cert", "billing_tls_key"] as const

/** Whoever says twice who we are means one of them, and nobody knows which. */
const credentialKeys = ["billing_token_file", "billing_credentials_file"] as const

/** Finds what `[metering]` says about the way to the billing service that cannot be meant together. */
export const billingContradictions = (metering: Settings["metering"]): ReadonlyArray<Contradiction> => {
  const found: Array<Contradiction> = []
  const { billing_endpoint: address, billing_tls_cert, billing_tls_key } = metering
  if ((billing_tls_cert === undefined) !== (billing_tls_key === undefined)) {
    const [set, missing] = billing_tls_cert === undefined
      ? ["billing_tls_key", "billing_tls_cert"] as const
      : ["billing_tls_cert", "billing_tls_key"] as const
    found.push({ keys: [set, missing], message: `is set without ${missing}; set both, or none` })
  }
  if (metering.billing_token_file !== undefined && metering.billing_credentials_file !== undefined) {
    found.push({
      keys: ["billing_credentials_file", "billing_token_file"],
      message: "is set together with billing_token_file; keep one of them"
    })
  }
  const endpoint = address === undefined ? undefined : parseBillingEndpoint(address)
  if (address === undefined || endpoint === undefined) return found
  for (const key of credentialKeys) {
    if (metering[key] !== undefined && hasCredentials(address)) {
      found.push({
        keys: [key, "billing_endpoint"],
        message: "is set, and billing_endpoint has credentials; keep one of them"
      })
    }
  }
  const [foreign, why] = endpoint._tag === "Http"
    ? [
      "billing_credentials_file",
      "is for NATS, and billing_endpoint is HTTP; for HTTP there are billing_token_file and billing_headers_file"
    ] as const
    : [
      "billing_headers_file",
      "is for HTTP, and billing_endpoint is NATS; for NATS there are billing_token_file and billing_credentials_file"
    ] as const
  if (metering[foreign] !== undefined) found.push({ keys: [foreign, "billing_endpoint"], message: why })
  if (endpoint._tag === "Http" && new URL(address).protocol === "http:") {
    for (const key of tlsKeys) {
      if (metering[key] !== undefined) {
        found.push({
          keys: [key, "billing_endpoint"],
          message: "needs TLS, and billing_endpoint is http://; make it https://"
        })
      }
    }
  }
  return found
}
