import type { Settings } from "../../services/SidecarConfig.ts"
import { keyNamed } from "./keys.ts"

/** Which parts of a sidecar are the application's own, or left out. */
export interface OwnParts {
  readonly channel: boolean
  readonly sink: boolean
  readonly journal: boolean
  readonly noGateways: boolean
  readonly noOps: boolean
}

const gatewayKeys = ["bind_addr", "bind_mode", "bind_group", "tls_cert", "tls_key", "tls_client_ca"]
const opsKeys = ["metrics_port", "metrics_host", "metrics_max_connections"]
const channelKeys = ["worker_uds", "worker_user", "worker_token", "worker_token_file", "wire"]
const billingKeys = [
  "billing_endpoint",
  "billing_format",
  "billing_token_file",
  "billing_headers_file",
  "billing_credentials_file",
  "billing_tls_ca",
  "billing_tls_cert",
  "billing_tls_key"
]
const journalKeys = ["journal_path", "durability"]

/** One line for each setting that somebody has changed and that a part of the application's own makes void. */
export const voidSettings = (settings: Settings, parts: OwnParts): ReadonlyArray<string> => {
  const because = (own: boolean, names: ReadonlyArray<string>, why: string): ReadonlyArray<string> =>
    own
      ? names.flatMap((name) => {
        const key = keyNamed(name)
        if (key === undefined) return []
        const section = Object.entries(settings).find(([section]) => section === key.section)?.[1]
        const value = section === undefined
          ? undefined
          : Object.entries<unknown>(section).find(([one]) => one === name)?.[1]
        return value === undefined || JSON.stringify(value) === JSON.stringify(key.fallback)
          ? []
          : [`[${key.section}] ${name} has no effect: ${why}`]
      })
      : []
  return [
    ...because(parts.channel, channelKeys, "the application provides a WorkerChannel of its own"),
    ...because(parts.sink, billingKeys, "the application provides a BillingSink of its own"),
    ...because(
      !parts.sink && settings.metering.billing_endpoint === undefined,
      billingKeys,
      "[metering] billing_endpoint names nobody to report to"
    ),
    ...because(parts.journal, journalKeys, "the application has chosen another journal than the file"),
    ...because(parts.noGateways, gatewayKeys, "no port for gateways was asked for"),
    ...because(parts.noOps, opsKeys, "no port for operators was asked for")
  ]
}
