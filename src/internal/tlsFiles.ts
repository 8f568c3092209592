import { Effect } from "effect"
import { readFileSync } from "node:fs"
import { BindError } from "../services/GrpcServer.ts"
import type { Settings } from "../services/SidecarConfig.ts"

/** The contents of `[server] tls_cert`, `tls_key` and `tls_client_ca`. */
export interface TlsFiles {
  readonly cert: Buffer
  readonly key: Buffer
  /** With it, only gateways with a certificate of this authority may connect. */
  readonly clientCa: Buffer | undefined
}

const read = (key: string, path: string): Effect.Effect<Buffer, BindError> =>
  Effect.try({
    try: () => readFileSync(path),
    catch: () =>
      new BindError({
        key: `[server] ${key}`,
        address: path,
        reason: "unavailable",
        detail: `[server] ${key}: cannot read ${path}`
      })
  })

/** Reads the TLS files; `undefined`: plaintext. */
export const tlsFiles = Effect.fnUntraced(
  function*(config: Settings["server"]): Effect.fn.Return<TlsFiles | undefined, BindError> {
    const { tls_cert, tls_client_ca, tls_key } = config
    if (tls_cert === undefined || tls_key === undefined) return undefined
    return {
      cert: yield* read("tls_cert", tls_cert),
      key: yield* read("tls_key", tls_key),
      clientCa: tls_client_ca === undefined ? undefined : yield* read("tls_client_ca", tls_client_ca)
    }
  }
)
