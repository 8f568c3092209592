import { lstatSync, statSync } from "node:fs"
import { resolve } from "node:path"
import { LinkError, type LinkFault } from "../services/WorkerChannel.ts"

/** Longest path of a Unix socket on Linux (sockaddr_un has 108 bytes, one of them the end). */
const MAX_PATH_BYTES = 107

/** The path in `unix:///abs`, `unix:/abs`, `unix:rel` or a bare path; absolute. */
export const socketPath = (address: string): string => {
  const bare = address.startsWith("unix://")
    ? address.slice(7)
    : address.startsWith("unix:")
    ? address.slice(5)
    : address
  return resolve(bare)
}

const fault = (fault: LinkFault, detail: string): LinkError => new LinkError({ fault, detail })

/** What can be said before a connect: a path that no socket can have. */
export const pathFault = (path: string): LinkError | undefined =>
  Buffer.byteLength(path) > MAX_PATH_BYTES
    ? fault(
      "PathTooLong",
      `${path} has ${Buffer.byteLength(path)} bytes, a Unix socket's path may have ${MAX_PATH_BYTES}`
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
