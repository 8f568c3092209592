import { jetstream, type JetStreamClient } from "@nats-io/jetstream"
import {
  type Authenticator,
  connect,
  headers,
  jwtAuthenticator,
  type NatsConnection,
  nkeyAuthenticator,
  type NodeConnectionOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator
} from "@nats-io/transport-node"
import { Effect } from "effect"
import type { BillingEndpoint } from "../../services/BillingEndpoint.ts"
import type { BillingAuth } from "./billingAuth.ts"
import { type BrokerMessage, type BrokerSession, BrokerTrouble, type OpenBroker } from "./broker.ts"
import { natsFault, type NatsFaultContext } from "./natsFault.ts"

type NatsEndpoint = Extract<BillingEndpoint, { readonly _tag: "Nats" }>

/** A server that says nothing for so long is not there. Milliseconds. */
const dialMillis = 5000
/** Whoever publishes gives up first; this ends what it has left behind. Milliseconds. */
const publishMillis = 15_000
/** How long a goodbye may take. */
const closeLimit = "1 second"

const utf8 = new TextEncoder()

const authenticatorOf = (endpoint: NatsEndpoint, auth: BillingAuth): Authenticator | undefined => {
  const { credentials, token } = auth
  if (credentials !== undefined) {
    const seed = utf8.encode(credentials.seed)
    return credentials.jwt === undefined ? nkeyAuthenticator(seed) : jwtAuthenticator(credentials.jwt, seed)
  }
  if (token !== undefined) return tokenAuthenticator(token)
  if (endpoint.user === undefined) return undefined
  return endpoint.password === undefined
    ? tokenAuthenticator(endpoint.user)
    : usernamePasswordAuthenticator(endpoint.user, endpoint.password)
}

const optionsOf = (endpoint: NatsEndpoint, auth: BillingAuth, name: string): NodeConnectionOptions => {
  const authenticator = authenticatorOf(endpoint, auth)
  const { ca, cert, key } = auth.tls ?? {}
  return {
    servers: [...endpoint.servers],
    name,
    timeout: dialMillis,
    // One owner for time: whoever reports tries again, and then a new connection is made.
    reconnect: false,
    // Servers that others tell of have names that we were not given, and certificates for them.
    ignoreClusterUpdates: true,
    noAsyncTraces: true,
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(endpoint.tls || auth.tls !== undefined
      ? {
        tls: {
          ...(ca === undefined ? {} : { ca: ca.toString() }),
          ...(cert === undefined ? {} : { cert: cert.toString() }),
          ...(key === undefined ? {} : { key: key.toString() })
        }
      }
      : {})
  }
}

const credentialsKeyOf = (auth: BillingAuth): string =>
  auth.credentials !== undefined
    ? "billing_credentials_file"
    : auth.token !== undefined
    ? "billing_token_file"
    : auth.tls?.cert !== undefined
    ? "billing_tls_cert"
    : "billing_endpoint"

const close = (connection: NatsConnection): Effect.Effect<void> =>
  Effect.promise(() => connection.close().catch(() => undefined)).pipe(Effect.timeoutOption(closeLimit), Effect.asVoid)

/** Dials; one that comes up when nobody waits for it any more is closed. */
const dial = (options: NodeConnectionOptions, context: NatsFaultContext) =>
  Effect.tryPromise({
    try: (signal) =>
      connect(options).then(async (connection) => {
        if (signal.aborted) await connection.close()
        return connection
      }),
    catch: (error) => natsFault(error, context)
  }).pipe(Effect.mapError((fault) =>
    fault._tag === "BrokerTrouble"
      ? fault
      : new BrokerTrouble({ reason: "error", detail: fault.detail, remedy: undefined })
  ))

const publisher = (client: JetStreamClient, context: NatsFaultContext) => (message: BrokerMessage) =>
  Effect.tryPromise({
    try: () => {
      const given = headers()
      given.set("Content-Type", message.contentType)
      return client.publish(context.subject, message.payload, {
        msgID: message.id,
        headers: given,
        timeout: publishMillis
      })
    },
    catch: (error) => natsFault(error, context)
  }).pipe(Effect.map(({ duplicate }) => ({ duplicate })))

/** A connection, and what it was made of. */
interface Held {
  readonly connection: NatsConnection
  readonly auth: BillingAuth
  readonly endpoint: NatsEndpoint
  readonly session: BrokerSession
}

/**
 * NATS JetStream by its official client: a message is stored when the stream has acknowledged it, and `Nats-Msg-Id` is its
 * id. One connection, made when it is wanted, and made anew when it has closed, does not answer, or the credentials have
 * changed.
 */
export const natsBroker = Effect.fnUntraced(function*(options: {
  /** Of the moment: another one has a connection of its own. */
  readonly endpoint: () => NatsEndpoint
  readonly auth: Effect.Effect<BillingAuth>
  /** How the server's monitoring calls the connection. */
  readonly name: string
}): Effect.fn.Return<Effect.Success<OpenBroker>, never, Effect.Services<OpenBroker>> {
  const { auth: currentAuth, endpoint: currentEndpoint, name } = options
  const state: { held: Held | undefined } = { held: undefined }

  const forget = Effect.suspend(() => {
    const { held } = state
    state.held = undefined
    return held === undefined ? Effect.void : close(held.connection)
  })
  yield* Effect.addFinalizer(() => forget)

  const session = Effect.gen(function*() {
    const auth = yield* currentAuth
    const endpoint = currentEndpoint()
    const { held } = state
    if (held?.auth === auth && held.endpoint === endpoint && !held.connection.isClosed()) return held.session
    yield* forget
    const context: NatsFaultContext = {
      subject: endpoint.subject,
      credentialsKey: credentialsKeyOf(auth),
      secure: endpoint.tls || auth.tls !== undefined,
      secrets: [...auth.secrets, endpoint.password ?? endpoint.user ?? ""]
    }
    const connection = yield* dial(optionsOf(endpoint, auth, name), context)
    const made: BrokerSession = { publish: publisher(jetstream(connection), context) }
    state.held = { connection, auth, endpoint, session: made }
    return made
  })

  return { session, forget }
})
