import { Effect } from "effect"
import { X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import { BindError } from "../../services/GrpcServer.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { builtins } from "../builtins.ts"

/** The contents of `[server] tls_cert`, `tls_key` and `tls_client_ca`. */
export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
  /** With it, only gateways with a certificate of this authority may connect. */
  readonly clientCa: Buffer | undefined
}

const mistake = (key: string, path: string, detail: string): BindError =>
  new BindError({ key: `[server] ${key}`, address: path, reason: "unavailable", detail: `[server] ${key}: ${detail}` })

const read = (key: string, path: string): Effect.Effect<Buffer, BindError> =>
  Effect.try({
    try: () => readFileSync(path),
    catch: () => mistake(key, path, `cannot read ${path}`)
  })

/**
 * Reads and checks the TLS files, so that a server can be made of them; `undefined`: plaintext.
 *
 * **Gotchas**
 *
 * Node takes an authority without a certificate in it, and then lets nobody in.
 */
export const tlsFiles = Effect.fnUntraced(
  function*(config: Settings["server"]): Effect.fn.Return<TlsFiles | undefined, BindError> {
    const { tls_cert, tls_client_ca, tls_key } = config
    if (tls_cert === undefined || tls_key === undefined) return undefined
    const cert = yield* read("tls_cert", tls_cert)
    const key = yield* read("tls_key", tls_key)
    yield* Effect.try({
      try: () => builtins.tls.createSecureContext({ cert, key }),
      catch: () =>
        mistake("tls_cert", tls_cert, `${tls_cert} and tls_key: ${tls_key} are not a certificate and its key (PEM)`)
    })
    if (tls_client_ca === undefined) return { cert, key, clientCa: undefined }
    const clientCa = yield* read("tls_client_ca", tls_client_ca)
    yield* Effect.try({
      try: () => new X509Certificate(clientCa),
      catch: () => mistake("tls_client_ca", tls_client_ca, `${tls_client_ca} is not a certificate (PEM)`)
    })
    return { cert, key, clientCa }
  }
)
