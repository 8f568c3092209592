/**
 * What an operator can do about a connection to the billing service that failed as `detail` says; `undefined`: TLS has no part
 * in it. Many servers hang up without a word on a certificate that they do not like (TLS 1.3 tells it after the handshake).
 */
export const tlsRemedy = (detail: string, secure: boolean): string | undefined => {
  if (!secure) return undefined
  if (/alert|CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/i.test(detail)) {
    return "check [metering] billing_tls_cert and billing_tls_key"
  }
  if (/CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/.test(detail)) {
    return "check [metering] billing_tls_ca, and the name in billing_endpoint"
  }
  return /ECONNRESET|socket hang up/.test(detail)
    ? "if the service demands a certificate, check [metering] billing_tls_cert and billing_tls_key"
    : undefined
}
