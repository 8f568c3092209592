import { socketPath } from "./socketAddress.ts"

/** Where to listen. */
export type BindAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }

/** Reads `host:port`, `[v6]:port` or `unix:///path`; `undefined` when it is none of them. */
export const parseBindAddress = (address: string): BindAddress | undefined => {
  if (address.startsWith("unix:")) return { kind: "unix", path: socketPath(address) }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  if (match === null || port > 65_535) return undefined
  return { kind: "tcp", host: match[1] ?? (match[2] === "" ? "0.0.0.0" : match[2] ?? ""), port }
}

/** The address for people. */
export const formatAddress = (host: string, port: number): string =>
  host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`
