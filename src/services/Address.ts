/**
 * Where the sidecar listens, as `bind_addr` spells it. The host of an IPv6 address has no brackets.
 */
export type BindAddress =
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }
  | { readonly _tag: "Unix"; readonly path: string }

/** Longest path of a Unix socket in bytes: `sockaddr_un` has 108, one of them the end. */
export const maxSocketPathBytes = 107

const utf8 = new TextEncoder()

const isSocketPath = (path: string): boolean =>
  path.length > 0 && !path.includes("\0") && !path.endsWith("/") && utf8.encode(path).length <= maxSocketPathBytes

/** Whether `host` can be a name, an IPv4 or an IPv6 address without brackets. */
export const isHost = (host: string): boolean =>
  host.includes(":") ? /^[\da-f]*:[\da-f.:]*:[\da-f.]*(%\w+)?$/i.test(host) : /^[a-z\d_]([\w.-]*\w)?$/i.test(host)

/** Reads `host:port`, `[ipv6]:port` or `unix:///path`; `undefined` when it is none of them. Port 0: any free one. */
export const parseBindAddress = (text: string): BindAddress | undefined => {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix://".length)
    return text.startsWith("unix:///") && isSocketPath(path) ? { _tag: "Unix", path } : undefined
  }
  const parts = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text)
  const host = parts?.[1] ?? parts?.[2]
  const port = Number(parts?.[3])
  if (host === undefined || !isHost(host) || port > 65_535) return undefined
  return parts?.[1] !== undefined && !host.includes(":") ? undefined : { _tag: "Tcp", host, port }
}

/** Spells an address as `bind_addr` does. */
export const formatBindAddress = (address: BindAddress): string =>
  address._tag === "Unix"
    ? `unix://${address.path}`
    : `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`

/** Where a worker is, as `worker_uds` spells it. */
export type WorkerAddress =
  | { readonly _tag: "Unix"; readonly path: string }
  | { readonly _tag: "Tcp"; readonly host: string; readonly port: number }

/**
 * Reads `unix:///abs`, `unix:/abs`, `unix:rel` or a bare absolute path (gRPC's own spellings, and what people type), or
 * `tcp://host:port`; `undefined` for anything else and for a path that no socket can have.
 */
export const parseWorkerAddress = (text: string): WorkerAddress | undefined => {
  if (text.startsWith("tcp://")) {
    const address = parseBindAddress(text.slice("tcp://".length))
    return address?._tag === "Tcp" && address.port > 0 ? address : undefined
  }
  const path = text.startsWith("unix://")
    ? text.startsWith("unix:///") ? text.slice("unix://".length) : ""
    : text.startsWith("unix:")
    ? text.slice("unix:".length)
    : text.startsWith("/")
    ? text
    : ""
  return isSocketPath(path) ? { _tag: "Unix", path } : undefined
}
