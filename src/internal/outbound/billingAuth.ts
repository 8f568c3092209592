import { Effect } from "effect"
import { X509Certificate } from "node:crypto"
import { BillingError } from "../../services/BillingSink.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { isToken } from "../../services/WorkerToken.ts"
import { builtins } from "../builtins.ts"
import { fileVersion } from "../fileVersion.ts"
import { headerSecrets } from "./conceal.ts"
import { readHeaders } from "./headersFile.ts"
import { loosePermissions, readSecretFile } from "./secretFile.ts"

/** Contents of the PEM files for the way to the billing service. */
export interface BillingTls {
  readonly ca?: Buffer
  readonly cert?: Buffer
  readonly key?: Buffer
}

/** By what the billing service knows us, read from the files that `[metering]` names. */
export interface BillingAuth {
  /** `undefined`: none of them is set. */
  readonly tls: BillingTls | undefined
  readonly token: string | undefined
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>
  /** Of a `.creds` file, or one NKey seed alone. */
  readonly credentials: { readonly jwt: string | undefined; readonly seed: string } | undefined
  /** What nobody may read in a log, a page or an error. */
  readonly secrets: ReadonlyArray<string>
}

type Metering = Settings["metering"]

const secretKeys = [
  "billing_token_file",
  "billing_headers_file",
  "billing_credentials_file",
  "billing_tls_key"
] as const
const fileKeys = [...secretKeys, "billing_tls_ca", "billing_tls_cert"] as const

/** One NKey seed (`nsc`, `nk -gen user`): S, the kind of key, base32. */
const isSeed = (text: string): boolean => /^S[UA-Z][A-Z2-7]{40,}$/.test(text)

const blocks = /-{3,}[^\n]*-{3,}\s*\n\s*(\S+)\s*\n\s*-{3,}/g

const read = <A>(
  key: (typeof fileKeys)[number],
  metering: Metering,
  take: (text: string, mistake: (detail: string) => BillingError) => A | BillingError
): Effect.Effect<A | undefined, BillingError> => {
  const path = metering[key]
  if (path === undefined) return Effect.succeed(undefined)
  return Effect.flatMap(readSecretFile(key, path), (bytes) => {
    const taken = take(bytes.toString("utf8"), (detail) => new BillingError({ key, value: path, detail }))
    return taken instanceof BillingError ? Effect.fail(taken) : Effect.succeed(taken)
  })
}

const readTls = Effect.fnUntraced(
  function*(metering: Metering): Effect.fn.Return<BillingTls | undefined, BillingError> {
    const { billing_tls_ca: caPath, billing_tls_cert: certPath, billing_tls_key: keyPath } = metering
    const ca = caPath === undefined ? undefined : yield* readSecretFile("billing_tls_ca", caPath)
    if (ca !== undefined && caPath !== undefined) {
      // Node takes an authority without a certificate in it, and then believes nobody.
      yield* Effect.try({
        try: () => new X509Certificate(ca),
        catch: () =>
          new BillingError({ key: "billing_tls_ca", value: caPath, detail: "is not a certificate; name a PEM file" })
      })
    }
    if (certPath === undefined || keyPath === undefined) return ca === undefined ? undefined : { ca }
    const cert = yield* readSecretFile("billing_tls_cert", certPath)
    const key = yield* readSecretFile("billing_tls_key", keyPath)
    yield* Effect.try({
      try: () => builtins.tls.createSecureContext({ cert, key }),
      catch: () =>
        new BillingError({
          key: "billing_tls_cert",
          value: certPath,
          detail: `and billing_tls_key = ${
            JSON.stringify(keyPath)
          } are not a certificate and its key; name two PEM files that belong together`
        })
    })
    return { ...(ca === undefined ? {} : { ca }), cert, key }
  }
)

const readAll = Effect.fnUntraced(function*(metering: Metering): Effect.fn.Return<BillingAuth, BillingError> {
  const token = yield* read(
    "billing_token_file",
    metering,
    (text, mistake) =>
      isToken(text.trim()) ? text.trim() : mistake("holds no token; write one line of printable ASCII without spaces")
  )
  const headers = yield* read("billing_headers_file", metering, (text, mistake) => {
    const found = readHeaders(text)
    if (typeof found === "string") return mistake(found)
    return token !== undefined && found["authorization"] !== undefined
      ? mistake("has an Authorization header, and billing_token_file is set; keep one of them")
      : found
  })
  const credentials = yield* read("billing_credentials_file", metering, (text, mistake) => {
    if (isSeed(text.trim())) return { jwt: undefined, seed: text.trim() }
    const [jwt, seed] = [...text.matchAll(blocks)].map(([, block = ""]) => block)
    return jwt === undefined || seed === undefined || !isSeed(seed)
      ? mistake("holds no NATS credentials; name a .creds file (JWT and seed), or a file of one NKey seed")
      : { jwt, seed }
  })
  return {
    tls: yield* readTls(metering),
    token,
    headers: headers ?? {},
    credentials,
    secrets: [
      ...(token === undefined ? [] : [token]),
      ...headerSecrets(headers ?? {}),
      ...Object.values(credentials ?? {})
    ].filter((secret) => secret !== undefined)
  }
})

/**
 * By what the billing service knows us. A file that is missing or wrong is a mistake of the configuration when the sidecar
 * starts. The effect that is answered gives what is in force: it looks at the files each time, and reads them again when they
 * have changed. Files that cannot be used then are told, and what was read before stays. The same object while nothing
 * changes.
 */
export const billingAuth = Effect.fnUntraced(
  function*(metering: Metering): Effect.fn.Return<Effect.Effect<BillingAuth>, BillingError> {
    const named = fileKeys.flatMap((key) => {
      const path = metering[key]
      return path === undefined ? [] : [path]
    })
    const versions = () => named.map(fileVersion).join("|")
    const tellLoose = Effect.suspend(() =>
      Effect.forEach(secretKeys, (key) => {
        const path = metering[key]
        const line = path === undefined ? undefined : loosePermissions(key, path)
        return line === undefined ? Effect.void : Effect.logWarning(line)
      }, { discard: true })
    )
    const state = { seen: versions(), auth: yield* readAll(metering) }
    yield* tellLoose
    return Effect.suspend(() => {
      const now = versions()
      if (now === state.seen) return Effect.succeed(state.auth)
      state.seen = now
      return Effect.matchEffect(readAll(metering), {
        onFailure: (error) => Effect.logWarning(`billing: ${error.message}; what was read before stays in force`),
        onSuccess: (fresh) => {
          state.auth = fresh
          return Effect.andThen(Effect.logInfo("billing: credentials read again"), tellLoose)
        }
      }).pipe(Effect.map(() => state.auth))
    })
  }
)
