import { Effect, type Scope } from "effect"
import type { Socket } from "node:net"
import type * as tls from "node:tls"
import type { BindError } from "../../services/GrpcServer.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { builtins } from "../builtins.ts"
import { fileVersion } from "../fileVersion.ts"
import { type TlsFiles, tlsFiles } from "../wire/tlsFiles.ts"

/** Time in which a TLS handshake must be over, in milliseconds. */
const HANDSHAKE_MILLIS = 10_000
/** How often the files are looked at. */
const LOOK = "2 seconds"

/** Why a handshake came to nothing: a word for the figures. */
export type HandshakeFault = "plaintext_on_tls" | "handshake_timeout" | "handshake_failed"

/** What comes of a socket that enters. */
export interface TlsEvents {
  onSecure(socket: tls.TLSSocket): void
  onFault(fault: HandshakeFault, socket: tls.TLSSocket, detail: string): void
}

const wordOf = (code: string | undefined): HandshakeFault => {
  switch (code) {
    case "ERR_SSL_HTTP_REQUEST":
    case "ERR_SSL_WRONG_VERSION_NUMBER":
    case "ERR_SSL_PACKET_LENGTH_TOO_LONG":
      return "plaintext_on_tls"
    case "ERR_TLS_HANDSHAKE_TIMEOUT":
      return "handshake_timeout"
    default:
      return "handshake_failed"
  }
}

const secureContext = (files: TlsFiles): tls.SecureContextOptions => ({
  cert: files.cert,
  key: files.key,
  ...(files.clientCa === undefined ? {} : { ca: files.clientCa })
})

/** The files as they stand there now: a rename in their place counts, and a link anywhere on the way that turns elsewhere. */
const identities = (config: Settings["server"]): string =>
  [config.tls_cert, config.tls_key, config.tls_client_ca]
    .map((path) => path === undefined ? "" : fileVersion(path))
    .join("|")

/**
 * Takes the TLS handshake of each socket that it is given; `undefined`: plaintext. The files are read again when they have
 * changed: connections that are open keep what they have. Files that cannot be used are told, and the old ones stay.
 */
export const tlsDoor = Effect.fnUntraced(function*(
  config: Settings["server"],
  events: TlsEvents
): Effect.fn.Return<((socket: Socket) => void) | undefined, BindError, Scope.Scope> {
  const files = yield* tlsFiles(config)
  if (files === undefined) return undefined
  const client = files.clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: true }
  const server = builtins.tls.createServer(
    { ...secureContext(files), ...client, ALPNProtocols: ["h2"], handshakeTimeout: HANDSHAKE_MILLIS },
    events.onSecure
  )
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket) => {
    events.onFault(wordOf(error.code), socket, error.code ?? error.message)
    socket.destroy()
  })
  let seen = identities(config)
  const look = Effect.suspend(() => {
    const found = identities(config)
    if (found === seen) return Effect.void
    seen = found
    return tlsFiles(config).pipe(
      Effect.matchEffect({
        onFailure: (error) => Effect.logWarning(`TLS files not taken, the old ones stay: ${error.message}`),
        onSuccess: (fresh) => {
          if (fresh !== undefined) server.setSecureContext(secureContext(fresh))
          return Effect.logInfo("TLS files read again")
        }
      })
    )
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(LOOK), look)))
  return (socket) => void server.emit("connection", socket)
})
