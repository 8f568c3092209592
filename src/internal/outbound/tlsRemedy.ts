/** What an operator can do about a TLS handshake with the billing service that failed as `detail` says. */
export const tlsRemedy = (detail: string): string | undefined => {
  if (/alert|CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE/i.test(detail)) {
    return "check [metering] billing_tls_cert and billing_tls_key"
  }
  return /CERT|SELF_SIGNED|UNABLE_TO_|ALTNAME/.test(detail)
    ? "check [metering] billing_tls_ca, and the name in billing_endpoint"
    : undefined
}
