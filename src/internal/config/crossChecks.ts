import { type BindAddress, formatBindAddress, parseBindAddress } from "../../services/Address.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { roomForToken } from "../../services/WorkerToken.ts"
import { billingContradictions } from "./billingChecks.ts"
import type { Contradiction } from "./contradiction.ts"
import { hasReadableCredentials } from "./credentials.ts"

export type { Contradiction } from "./contradiction.ts"

/** SQLite takes some names for no files: a journal in memory would lose what it counts. */
export const isNoFile = (path: string): boolean => /^\s*(?::memory:|file:)/i.test(path)

const wildcards: ReadonlySet<string> = new Set(["0.0.0.0", "::"])

const sharePort = (a: BindAddress, b: BindAddress): boolean =>
  a._tag === "Tcp" && b._tag === "Tcp" && a.port !== 0 && a.port === b.port &&
  (a.host === b.host || wildcards.has(a.host) || wildcards.has(b.host))

const same = (a: BindAddress, b: BindAddress): boolean =>
  a._tag === "Unix" ? b._tag === "Unix" && a.path === b.path : b._tag === "Tcp" && a.host === b.host && sharePort(a, b)

/** A socket on `::` has all the IPv4 addresses, too. */
const takesIn = (wide: BindAddress, narrow: BindAddress): boolean =>
  sharePort(wide, narrow) && wide._tag === "Tcp" && wide.host === "::" && narrow._tag === "Tcp" &&
  narrow.host === "0.0.0.0"

/** Finds settings that are right one by one and wrong together. */
export const contradictions = ({ metering, observability, server }: Settings): ReadonlyArray<Contradiction> => {
  const found: Array<Contradiction> = []
  const { tls_cert, tls_client_ca, tls_key } = server
  if ((tls_cert === undefined) !== (tls_key === undefined)) {
    const [set, missing] = tls_cert === undefined ? ["tls_key", "tls_cert"] as const : ["tls_cert", "tls_key"] as const
    found.push({ keys: [set, missing], message: `is set without ${missing}; set both, or none for plaintext` })
  }
  if (tls_client_ca !== undefined && tls_cert === undefined && tls_key === undefined) {
    found.push({
      keys: ["tls_client_ca", "tls_cert", "tls_key"],
      message: "is set without tls_cert and tls_key; client certificates need TLS: set all three"
    })
  }
  if (typeof server.control !== "string" && tls_client_ca === undefined) {
    found.push({
      keys: ["control", "tls_client_ca"],
      message: "names client certificates, which nobody is asked for; set tls_client_ca, or one of local, unix, off"
    })
  }
  if (server.worker_token !== undefined && server.worker_token_file !== undefined) {
    found.push({
      keys: ["worker_token_file", "worker_token"],
      message: "is set together with worker_token; keep one of them"
    })
  }
  const room = roomForToken(server.max_metadata_bytes)
  if (server.worker_token !== undefined && server.worker_token.length > room) {
    const over = server.worker_token.length - room
    found.push({
      keys: ["max_metadata_bytes", "worker_token"],
      message: `leaves worker_token ${Math.max(0, room)} of the bytes that a worker takes; lower it by ${over}`
    })
  }
  const listed = typeof server.bind_addr === "string" ? [server.bind_addr] : server.bind_addr
  const addresses = listed.map(parseBindAddress).filter((address) => address !== undefined)
  addresses.forEach((address, index) => {
    if (addresses.slice(0, index).some((other) => same(address, other))) {
      found.push({ keys: ["bind_addr"], message: `${formatBindAddress(address)} is listed twice` })
    }
    const wide = addresses.find((other) => takesIn(other, address))
    if (wide !== undefined) {
      found.push({
        keys: ["bind_addr"],
        message: `${formatBindAddress(wide)} takes in ${formatBindAddress(address)}: list ${
          formatBindAddress(wide)
        } alone`
      })
    }
  })
  const metrics: BindAddress = { _tag: "Tcp", host: observability.metrics_host, port: observability.metrics_port }
  if (addresses.some((address) => sharePort(address, metrics))) {
    found.push({
      keys: ["metrics_port", "bind_addr", "metrics_host"],
      message: `port ${metrics.port} is both metrics_port's and bind_addr's; each needs its own`
    })
  }
  if (isNoFile(metering.journal_path)) {
    found.push({
      keys: ["journal_path"],
      message: `expected the path of a file, got ${
        JSON.stringify(metering.journal_path)
      }: SQLite's own names keep no usage`
    })
  }
  found.push(...billingContradictions(metering))
  for (
    const [key, address] of [
      ["billing_endpoint", metering.billing_endpoint],
      ["otlp_endpoint", observability.otlp_endpoint]
    ] as const
  ) {
    if (address !== undefined && !hasReadableCredentials(address)) {
      found.push({ keys: [key], message: "has a % in its user name or password that begins no escape; write % as %25" })
    }
  }
  return found
}
