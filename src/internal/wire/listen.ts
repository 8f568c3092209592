import { Effect, type Scope } from "effect"
import { chmodSync, chownSync, existsSync, lstatSync, rmSync } from "node:fs"
import * as net from "node:net"
import { dirname } from "node:path"
import { formatBindAddress, parseBindAddress } from "../../services/Address.ts"
import { BindError } from "../../services/GrpcServer.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { isOutOfFiles, OUT_OF_FILES } from "../openFiles.ts"
import { groupNumber } from "./userNames.ts"

const KEY = "[server] bind_addr"
const HOW = "stop it, or set [server] bind_addr / SIDECAR_BIND_ADDR"

/** Why `listen` failed. libuv says EACCES of a socket whose folder is missing, too. */
const codeOf = (address: string, error: NodeJS.ErrnoException): string | undefined => {
  const where = parseBindAddress(address)
  return error.code === "EACCES" && where?._tag === "Unix" && !existsSync(dirname(where.path)) ? "ENOENT" : error.code
}

const bindError = (address: string, error: NodeJS.ErrnoException): BindError => {
  const say = (reason: BindError["reason"], detail: string) => new BindError({ key: KEY, address, reason, detail })
  if (isOutOfFiles(error.code)) return say("unavailable", `${KEY}: cannot listen on ${address}: ${OUT_OF_FILES}`)
  switch (codeOf(address, error)) {
    case "EADDRINUSE":
      return say("in_use", `${KEY}: ${address} is in use by another process: ${HOW}`)
    case "EACCES":
    case "EPERM":
      return say(
        "forbidden",
        address.startsWith("unix:")
          ? `${KEY}: no permission to listen on ${address}: choose a folder that the sidecar's user may write to`
          : `${KEY}: no permission to listen on ${address}: choose a port above 1023`
      )
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return say("unavailable", `${KEY}: ${address} is not an address of this machine`)
    case "ENOENT":
      return say("unavailable", `${KEY}: the folder of ${address} does not exist: create it or choose another`)
    default:
      return say("unavailable", `${KEY}: cannot listen on ${address}: ${error.code ?? error.message}`)
  }
}

/** Only a refused connect proves that nobody listens: a busy or frozen server refuses nothing. */
const isStale = (path: string): Effect.Effect<boolean> =>
  Effect.callback<boolean>((resume) => {
    const probe = net.connect({ path })
    probe.once("error", (error: NodeJS.ErrnoException) => resume(Effect.succeed(error.code === "ECONNREFUSED")))
    probe.once("connect", () => {
      probe.destroy()
      resume(Effect.succeed(false))
    })
    return Effect.sync(() => probe.destroy())
  })

const inUse = (): NodeJS.ErrnoException => Object.assign(new Error(), { code: "EADDRINUSE" })

/** A socket file that nobody listens on is left over from a crash and may go; anything else stays. */
const clearStale = Effect.fnUntraced(function*(address: string, path: string) {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isSocket()) {
    return yield* new BindError({
      key: KEY,
      address,
      reason: "not_a_socket",
      detail: `${KEY}: ${path} exists and is not a socket: remove it or choose another path`
    })
  }
  if (!(yield* isStale(path))) return yield* bindError(address, inUse())
  yield* Effect.try({
    try: () => rmSync(path, { force: true }),
    catch: (cause) => bindError(address, cause instanceof Error ? cause : new Error(String(cause)))
  })
})

/** The umask under which a socket is made that nobody may connect to yet. */
const NOBODY = 0o777

const bind = (
  server: net.Server,
  address: string,
  options: net.ListenOptions,
  umask?: number
): Effect.Effect<void, BindError> =>
  Effect.callback<void, BindError>((resume) => {
    const failed = (error: NodeJS.ErrnoException) => resume(Effect.fail(bindError(address, error)))
    server.once("error", failed)
    const before = umask === undefined ? undefined : process.umask(umask)
    // A socket is bound within this call.
    server.listen(options, () => {
      server.off("error", failed)
      resume(Effect.void)
    })
    if (before !== undefined) process.umask(before)
  })

/** Who may connect to a Unix socket of ours. */
export type SocketAccess = Pick<Settings["server"], "bind_mode" | "bind_group">

/** Gives the socket its group and its permissions. */
const grant = (address: string, path: string, { bind_group, bind_mode }: SocketAccess) =>
  Effect.suspend(() => {
    const fail = (key: string, detail: string) =>
      Effect.fail(
        new BindError({ key: `[server] ${key}`, address, reason: "forbidden", detail: `[server] ${key}: ${detail}` })
      )
    const group = bind_group === undefined ? undefined : groupNumber(bind_group)
    if (bind_group !== undefined && group === undefined) return fail("bind_group", `there is no group ${bind_group}`)
    try {
      if (group !== undefined) chownSync(path, -1, group)
    } catch {
      return fail("bind_group", `${path} cannot be given to group ${bind_group}: only root or a member of it may`)
    }
    try {
      chmodSync(path, bind_mode === undefined ? 0o777 & ~process.umask() : Number.parseInt(bind_mode, 8))
    } catch {
      return fail("bind_mode", `the permissions of ${path} cannot be set`)
    }
    return Effect.void
  })

/** A listener that is up. */
export interface Listening {
  readonly server: net.Server
  /** As it can be dialled; the real port, also where 0 was asked for. */
  readonly address: string
}

/**
 * Listens on one address until the scope closes; each connection goes to `onConnection`. `onFault`: one could not be
 * accepted.
 */
export const listen = Effect.fnUntraced(function*(
  address: string,
  access: SocketAccess,
  onConnection: (socket: net.Socket) => void,
  onFault: (error: NodeJS.ErrnoException) => void = () => {}
): Effect.fn.Return<Listening, BindError, Scope.Scope> {
  const where = parseBindAddress(address)
  if (where === undefined) {
    return yield* new BindError({
      key: KEY,
      address,
      reason: "unavailable",
      detail: `${KEY}: "${address}" is neither host:port nor unix:///path`
    })
  }
  if (where._tag === "Unix") yield* clearStale(address, where.path)
  const server = yield* Effect.acquireRelease(
    Effect.sync(() => net.createServer({ noDelay: true }, onConnection)),
    (server) => Effect.sync(() => server.close())
  )
  if (where._tag === "Tcp") yield* bind(server, address, { host: where.host, port: where.port })
  else {
    const restricted = access.bind_mode !== undefined || access.bind_group !== undefined
    yield* bind(server, address, { path: where.path }, restricted ? NOBODY : undefined)
    if (restricted) yield* grant(address, where.path, access)
  }
  server.on("error", onFault)
  const bound = server.address()
  return {
    server,
    address: formatBindAddress(
      where._tag === "Tcp" && bound !== null && typeof bound === "object" ? { ...where, port: bound.port } : where
    )
  }
})
