import { Stream } from "effect"
import { statSync } from "node:fs"
import type * as net from "node:net"
import { parseWorkerAddress } from "../../services/Address.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { LinkError, type LinkFault } from "../../services/WorkerChannel.ts"
import { connectFault, pathFault, socketPath } from "./socketAddress.ts"
import { type AddressChange, socketWatch } from "./socketWatch.ts"
import { userNumber } from "./userNames.ts"

/** Where the worker is, with all that differs between a Unix socket and TCP. */
export interface WorkerEndpoint {
  /** For people: `unix:///tmp/cy_worker.sock`, `tcp://worker:50052`. */
  readonly address: string
  /** The address in a sentence: the path, or `host:port`. */
  readonly name: string
  /** What Node connects to. */
  readonly connect: net.NetConnectOpts
  /** The address as gRPC libraries spell it. */
  readonly target: string
  /** What can be said before a connect. */
  readonly faultBefore: () => LinkError | undefined
  /** Tells apart why a connect failed. */
  readonly faultOf: (error: NodeJS.ErrnoException) => LinkError
  /** Changes that make a dial worth while at once; of a TCP address none are seen. */
  readonly changes: Stream.Stream<AddressChange>
}

const say = (fault: LinkFault, detail: string): LinkError => new LinkError({ fault, detail })

/**
 * A socket of another user may be a trap: whoever binds the path first is handed prompts and credentials. Root, our own
 * user and `[server] worker_user` are trusted.
 */
const ownerFault = (path: string, user: string | number | undefined): LinkError | undefined => {
  const stat = statSync(path, { throwIfNoEntry: false })
  if (stat === undefined || !stat.isSocket()) return undefined
  const own = process.getuid?.()
  if (stat.uid === 0 || own === undefined || stat.uid === own) return undefined
  if (user !== undefined && stat.uid === userNumber(user)) return undefined
  const trusted = user === undefined ? "root or to us" : `root, to us or to ${user}`
  return say("ForeignSocket", `${path} belongs to user ${stat.uid}, and not to ${trusted} (user ${own})`)
}

const unixEndpoint = (path: string, user: string | number | undefined): WorkerEndpoint => ({
  address: `unix://${path}`,
  name: path,
  connect: { path },
  target: `unix:${path}`,
  faultBefore: () => {
    try {
      return pathFault(path) ?? ownerFault(path, user)
    } catch {
      // A folder that may not be entered: the connect says so.
      return undefined
    }
  },
  faultOf: (error) => connectFault(path, error),
  changes: socketWatch(path)
})

const tcpFault = (name: string, error: NodeJS.ErrnoException): LinkError => {
  switch (error.code) {
    case "ECONNREFUSED":
      return say("ConnectionRefused", `nobody listens on ${name}`)
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return say("HostUnknown", `the host of ${name} has no address (${error.code})`)
    case "EHOSTUNREACH":
    case "ENETUNREACH":
    case "EHOSTDOWN":
    case "ETIMEDOUT":
      return say("HostUnreachable", `${name} cannot be reached (${error.code})`)
    default:
      return say("LinkBroken", `${name}: ${error.code ?? error.message}`)
  }
}

const tcpEndpoint = (host: string, port: number): WorkerEndpoint => {
  const name = `${host.includes(":") ? `[${host}]` : host}:${port}`
  return {
    address: `tcp://${name}`,
    name,
    connect: { host, port, noDelay: true },
    target: `dns:${name}`,
    faultBefore: () => undefined,
    faultOf: (error) => tcpFault(name, error),
    changes: Stream.empty
  }
}

/** The endpoint of `[server] worker_uds`. */
export const workerEndpoint = (
  { worker_uds, worker_user }: Pick<Settings["server"], "worker_uds" | "worker_user">
): WorkerEndpoint => {
  const address = parseWorkerAddress(worker_uds)
  return address?._tag === "Tcp"
    ? tcpEndpoint(address.host, address.port)
    : unixEndpoint(socketPath(worker_uds), worker_user)
}
