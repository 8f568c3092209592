import { Effect, type FileSystem, Option, type Scope } from "effect"
import { Flag } from "effect/cli"
import * as fs from "node:fs"
import type { AiClient, CallFailed } from "../internal/client/aiClient.ts"
import * as TomlConfig from "../layers/TomlConfig.ts"
import { formatBindAddress, parseBindAddress } from "../services/Address.ts"
import type { ConfigError, Settings } from "../services/SidecarConfig.ts"
import * as Status from "../services/Status.ts"
import { CliExit, ExitCode } from "./exit.ts"

/** How `predict` and `status` find the other side. */
export const peerFlags = {
  addr: Flag.String("addr").pipe(
    Flag.withAlias("a"),
    Flag.withMetavar("ADDRESS"),
    Flag.withDescription("host:port or unix:///path (default: bind_addr of the configuration, on this host)"),
    Flag.optional
  ),
  ca: Flag.String("ca").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("PEM file of the authority that signed the server's certificate; switches TLS on"),
    Flag.optional
  ),
  cert: Flag.String("cert").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("PEM file of our own certificate, for mutual TLS"),
    Flag.optional
  ),
  key: Flag.String("key").pipe(
    Flag.withMetavar("FILE"),
    Flag.withDescription("PEM file of that certificate's key"),
    Flag.optional
  )
}

export interface PeerFlags {
  readonly addr: Option.Option<string>
  readonly ca: Option.Option<string>
  readonly cert: Option.Option<string>
  readonly key: Option.Option<string>
}

export interface Peer {
  readonly client: AiClient
  readonly address: string
  /** The configuration of this folder and environment; only looked at when no address was given. */
  readonly settings: Settings | undefined
}

/** Where a listener on `address` is reached from this host: a wildcard is the loopback. */
export const reachable = (address: string): string => {
  const parsed = parseBindAddress(address)
  if (parsed?._tag !== "Tcp") return address
  const host = parsed.host === "0.0.0.0" ? "127.0.0.1" : parsed.host === "::" ? "::1" : parsed.host
  return formatBindAddress({ ...parsed, host })
}

const usage = (message: string): CliExit => new CliExit({ code: ExitCode.usage, message })

const readablePem = (flag: string, file: Option.Option<string>): Effect.Effect<string | undefined, CliExit> => {
  if (Option.isNone(file)) return Effect.undefined
  return Effect.try({
    try: () => {
      fs.accessSync(file.value, fs.constants.R_OK)
      return file.value
    },
    catch: () => new CliExit({ code: ExitCode.noInput, message: `--${flag}: cannot read ${file.value}` })
  })
}

const firstAddress = (settings: Settings): string =>
  typeof settings.server.bind_addr === "string" ? settings.server.bind_addr : settings.server.bind_addr[0]

/** Opens a client to the address of the flags, or to that of the configuration. */
export const connect = (
  flags: PeerFlags,
  bearerToken?: string
): Effect.Effect<Peer, CliExit | ConfigError, Scope.Scope | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const settings = Option.isSome(flags.addr) ? undefined : (yield* TomlConfig.load()).settings
    const listed = Option.isSome(flags.addr) ? flags.addr.value : settings === undefined ? "" : firstAddress(settings)
    const unix = listed.startsWith("unix:")
    if (!unix && !/:\d+$/.test(listed)) {
      return yield* usage(`--addr: expected host:port or unix:///path, got "${listed}"`)
    }
    const address = unix ? listed : reachable(listed)
    const ca = yield* readablePem("ca", flags.ca)
    const cert = yield* readablePem("cert", flags.cert)
    const key = yield* readablePem("key", flags.key)
    const AiClient = yield* Effect.promise(() => import("../internal/client/aiClient.ts"))
    return { client: yield* AiClient.make({ address, bearerToken, ca, cert, key }), address, settings }
  })

const exitCodes: ReadonlyMap<number, number> = new Map([
  [Status.Code.CANCELLED, ExitCode.interrupted],
  [Status.Code.INVALID_ARGUMENT, ExitCode.dataError],
  [Status.Code.NOT_FOUND, ExitCode.noInput],
  [Status.Code.DEADLINE_EXCEEDED, ExitCode.temporary],
  [Status.Code.RESOURCE_EXHAUSTED, ExitCode.temporary],
  [Status.Code.UNAVAILABLE, ExitCode.unavailable],
  [Status.Code.PERMISSION_DENIED, ExitCode.noPermission],
  [Status.Code.UNAUTHENTICATED, ExitCode.noPermission]
])

/** Nobody of ours answered: the sidecar's own UNAVAILABLE always has a reason. */
export const nobodyAnswers = (error: CallFailed): boolean =>
  error.code === Status.Code.UNAVAILABLE && error.trailers["cy-reason"] === undefined &&
  /ECONN|ENOENT|EACCES|ENOTFOUND|resolution|connection established|ETIMEDOUT|EHOST/i.test(error.details)

/** The line for an address at which no sidecar answers. */
export const notRunning = (address: string): CliExit =>
  new CliExit({
    code: ExitCode.unavailable,
    message: `no sidecar answers at ${address}; start one with \`sidecar run\`, or name another with --addr`
  })

const seconds = (millis: string | undefined): string | undefined =>
  millis === undefined || !/^\d+$/.test(millis) ? undefined : `${Math.max(1, Math.ceil(Number(millis) / 1000))}s`

const advice = (error: CallFailed): string => {
  const retry = seconds(error.trailers["grpc-retry-pushback-ms"])
  const again = retry === undefined || error.details.includes("retry in") ? "" : `retry in ${retry}; `
  const down = error.trailers["cy-reason"] === "worker_disconnected" ? "worker not connected; " : ""
  switch (error.code) {
    case Status.Code.UNAVAILABLE:
      return `${down}${again}see \`sidecar status\``
    case Status.Code.RESOURCE_EXHAUSTED:
      return retry === undefined ? "" : `retry in ${retry}`
    case Status.Code.UNAUTHENTICATED:
      return "the worker wants its token: --token SECRET"
    case Status.Code.DEADLINE_EXCEEDED:
      return "give it more time with --deadline SECS"
    case Status.Code.PERMISSION_DENIED:
      return "ask from the sidecar's own host, or as [server] control says"
    default:
      return ""
  }
}

/** grpc-js lists where the time went behind its own words for a deadline. */
const LIBRARY_TIMINGS = /^(DEADLINE_EXCEEDED: Deadline exceeded after [\d.]+s),.*$/

const unknownName = (address: string): CliExit =>
  new CliExit({
    code: ExitCode.unavailable,
    message: `the name in ${address} is known to nobody (ENOTFOUND); check --addr, or the host's name resolution`
  })

/** A failed call in one line: the status by name, what the other side said, and what to do. */
export const explain = (error: CallFailed, address: string): CliExit => {
  if (nobodyAnswers(error)) {
    return /ENOTFOUND|EAI_AGAIN|Name resolution failed/i.test(error.details)
      ? unknownName(address)
      : notRunning(address)
  }
  const hint = advice(error)
  const said = error.message.replace(/\s*\n\s*/g, " ").replace(LIBRARY_TIMINGS, "$1")
  return new CliExit({
    code: exitCodes.get(error.code) ?? ExitCode.software,
    message: `${said}${hint === "" ? "" : ` (${hint})`}`
  })
}
