import { lstatSync, statSync } from "node:fs"
import { resolve } from "node:path"
import { maxSocketPathBytes, parseWorkerAddress } from "../../services/Address.ts"
import { LinkError, type LinkFault } from "../../services/WorkerChannel.ts"

/** The socket's path, absolute, of an address as `worker_uds` spells it. */
export const socketPath = (address: string): string => {
  const parsed = parseWorkerAddress(address)
  return resolve(parsed?._tag === "Unix" ? parsed.path : address)
}

const fault = (fault: LinkFault, detail: string): LinkError => new LinkError({ fault, detail })

/** What can be said before a connect: a path that no socket can have. */
export const pathFault = (path: string): LinkError | undefined =>
  Buffer.byteLength(path) > maxSocketPathBytes
    ? fault(
      "PathTooLong",
      `${path} has ${Buffer.byteLength(path)} bytes, a Unix socket's path may have ${maxSocketPathBytes}`
    )
    : undefined

const isSocket = (path: string): boolean => {
  try {
    return statSync(path).isSocket()
  } catch {
    return true
  }
}

/** Tells apart why a connect to `path` failed. */
export const connectFault = (path: string, error: NodeJS.ErrnoException): LinkError => {
  switch (error.code) {
    case "ENOENT":
    case "ENOTDIR":
      return fault("SocketMissing", `${path} does not exist`)
    case "EACCES":
    case "EPERM":
      return fault("PermissionDenied", `no permission to connect to ${path}`)
    case "ENOTSOCK":
      return fault("NotASocket", `${path} is not a socket`)
    case "ECONNREFUSED":
      return isSocket(path)
        ? fault("ConnectionRefused", `nobody listens on ${path} (a stale socket file)`)
        : fault("NotASocket", `${path} is not a socket`)
    default:
      return fault("LinkBroken", `${path}: ${error.code ?? error.message}`)
  }
}

/**
 * Which file stands at a path, to notice that it was replaced; `undefined` when there is none. An inode number alone can
 * be given out again at once, so the time of its birth is part of it.
 */
export const fileIdentity = (path: string): { readonly file: string; readonly changed: string } | undefined => {
  try {
    const stat = lstatSync(path, { bigint: true })
    return { file: `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`, changed: `${stat.ctimeNs}` }
  } catch {
    return undefined
  }
}
