import type * as tls from "node:tls"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { Metadata } from "../../services/Wire.ts"

/** What is known of the other end of a connection. */
export interface PeerFacts {
  /** The remote IP address; `undefined`: a Unix socket. `"gone"`: it is not known any more. */
  readonly ip: string | undefined
  /** Names in a client certificate that was verified. */
  readonly names: () => ReadonlyArray<string>
}

const isLoopback = (ip: string): boolean => ip === "::1" || ip.startsWith("127.") || ip.startsWith("::ffff:127.")

/**
 * Who may steer the sidecar, by `[server] control`: `"local"` who connects by loopback or a Unix socket, `"unix"` by a
 * Unix socket only, `"off"` nobody, a list who shows a client certificate with one of its names. A gateway's certificate
 * alone lets it call, not steer.
 */
export const trustOf = (control: Settings["server"]["control"]): (peer: PeerFacts) => boolean => {
  if (control === "off") return () => false
  if (control === "unix") return ({ ip }) => ip === undefined
  if (control === "local") return ({ ip }) => ip === undefined || isLoopback(ip)
  const wanted = new Set(control)
  return ({ names }) => names().some((name) => wanted.has(name))
}

/** The common name and the alternative names (RFC 5280 §4.2.1.6) of a certificate. */
export const namesOf = (
  certificate: { readonly subject?: tls.Certificate | undefined; readonly subjectaltname?: string | undefined }
): ReadonlyArray<string> => {
  const common: unknown = certificate.subject?.CN
  // Node quotes a name that holds a comma, which none of ours does.
  const others = (certificate.subjectaltname ?? "").split(", ").map((entry) =>
    /^(?:DNS|URI|email|IP Address):([^"]+)$/.exec(entry)?.[1]
  )
  return [...(typeof common === "string" ? [common] : []), ...others.filter((name) => name !== undefined)]
}

/** What proxies add to a call that they pass on: its caller is somebody else than the peer of the connection. */
const FORWARDED = /^(?:forwarded|via|x-forwarded-.*|x-real-ip|x-client-ip|true-client-ip|x-envoy-external-address)$/

/** Whether a call came by way of a proxy. */
export const isForwarded = (metadata: Metadata): boolean => {
  for (const key in metadata) {
    if (metadata[key] !== undefined && FORWARDED.test(key)) return true
  }
  return false
}
