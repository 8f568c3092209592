import * as grpc from "@grpc/grpc-js"
import { Clock, Effect, Fiber, Latch, Layer, type Scope } from "effect"
import type * as net from "node:net"
import { addFallback } from "../internal/grpcJs/grpcJsFallback.ts"
import { identity } from "../internal/grpcJs/grpcJsMessages.ts"
import { GrpcJsServerCall } from "../internal/grpcJs/grpcJsServerCall.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { AI_TRAINING, AI_TRAINING_METHODS } from "../internal/wire/aiContract.ts"
import { listen } from "../internal/wire/listen.ts"
import { type TlsFiles, tlsFiles } from "../internal/wire/tlsFiles.ts"
import { namesOf, trustOf } from "../internal/wire/trust.ts"
import { type BindError, type CallHandler, GrpcServer, SidecarRoutes } from "../services/GrpcServer.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { interruptWith } from "../services/StreamError.ts"

type Call = grpc.ServerDuplexStream<Buffer, Buffer>

/** How the sidecar's methods join a server. */
export interface AddOptions {
  /** Full names of services that the server has already (`grpc.health.v1.Health`, say). Default: none. */
  readonly without?: ReadonlyArray<string> | undefined
  /**
   * Who may send `sidecar.*` commands. Default: as `[server] control` says; a peer without an address is one on a Unix
   * socket.
   */
  readonly trusted?: ((call: Call) => boolean) | undefined
}

/** The address of a peer without its port, as grpc-js spells both; "unknown": a Unix socket. */
const ipOf = (peer: string): string | undefined =>
  peer === "unknown" ? undefined : peer.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")

const trusts = (control: SidecarConfig["Service"]["server"]["control"]) => {
  const trusted = trustOf(control)
  return (call: Call): boolean => {
    const certificate = call.getAuthContext().sslPeerCertificate
    return trusted({ ip: ipOf(call.getPeer()), names: () => certificate === undefined ? [] : namesOf(certificate) })
  }
}

/** Turns handlers of ours into grpc-js's. Their fibers live in the present scope. */
const bridge = (options: AddOptions): Effect.Effect<
  (handler: CallHandler) => grpc.handleBidiStreamingCall<Buffer, Buffer>,
  never,
  SidecarConfig | Scope.Scope
> =>
  Effect.gen(function*() {
    const { server } = yield* SidecarConfig
    const now = monotonicMillis(yield* Clock.Clock)
    const track = Fiber.runIn(yield* Effect.scope)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const trusted = options.trusted ?? trusts(server.control)
    return (handler) => (stream) => {
      const call = new GrpcJsServerCall(stream, {
        arrivedAt: now(),
        peer: { address: stream.getPeer(), trusted: trusted(stream) },
        maxMessageBytes: server.max_message_bytes
      })
      const fiber = track(run(handler(call)))
      if (fiber.pollUnsafe() === undefined) call.onLeave((why) => interruptWith(fiber, why))
    }
  })

/** The paths of the sidecar's own methods and of AiTraining, by service. */
const methodsOf = (routes: SidecarRoutes["Service"]): ReadonlyMap<string, ReadonlyMap<string, CallHandler>> => {
  const training = AI_TRAINING_METHODS.map((method) => [`/${AI_TRAINING}/${method}`, routes.fallback] as const)
  const services = new Map<string, Map<string, CallHandler>>()
  for (const [path, handler] of [...routes.routes, ...training]) {
    const [, service = "", method = ""] = path.split("/")
    const methods = services.get(service) ?? new Map<string, CallHandler>()
    services.set(service, methods.set(method, handler))
  }
  return services
}

/**
 * Adds AiInference, AiTraining, health and reflection to an embedder's own grpc-js server; when the scope closes they
 * leave it again. The server's `grpc.max_receive_message_length` is the embedder's to set.
 */
export const addTo = (
  server: grpc.Server,
  options: AddOptions = {}
): Effect.Effect<void, never, SidecarConfig | SidecarRoutes | Scope.Scope> =>
  Effect.gen(function*() {
    const handle = yield* bridge(options)
    for (const [service, methods] of methodsOf(yield* SidecarRoutes)) {
      if (options.without?.includes(service) === true) continue
      const definition: Record<string, grpc.MethodDefinition<Buffer, Buffer>> = {}
      const implementation: grpc.UntypedServiceImplementation = {}
      for (const [method, handler] of methods) {
        definition[method] = {
          path: `/${service}/${method}`,
          requestStream: true,
          responseStream: true,
          requestSerialize: identity,
          requestDeserialize: identity,
          responseSerialize: identity,
          responseDeserialize: identity
        }
        implementation[method] = handle(handler)
      }
      yield* Effect.acquireRelease(
        Effect.sync(() => server.addService(definition, implementation)),
        () => Effect.sync(() => server.removeService(definition))
      )
    }
  })

const credentialsOf = (tls: TlsFiles | undefined): grpc.ServerCredentials =>
  tls === undefined ? grpc.ServerCredentials.createInsecure() : grpc.ServerCredentials.createSsl(
    tls.clientCa ?? null,
    [{ cert_chain: tls.cert, private_key: tls.key }],
    tls.clientCa !== undefined
  )

const make: Effect.Effect<GrpcServer["Service"], BindError, SidecarConfig | SidecarRoutes | Scope.Scope> = Effect.gen(
  function*() {
    const config = (yield* SidecarConfig).server
    const tls = yield* tlsFiles(config)
    const server = new grpc.Server({
      "grpc.max_receive_message_length": config.max_message_bytes,
      "grpc.max_send_message_length": -1,
      "grpc.keepalive_time_ms": 30_000,
      "grpc.keepalive_timeout_ms": 20_000
    })
    yield* addTo(server)
    addFallback(server, (yield* bridge({}))((yield* SidecarRoutes).fallback))

    const sockets = new Set<net.Socket>()
    const idle = yield* Latch.make(true)
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        server.forceShutdown()
        for (const socket of sockets) socket.destroy()
      })
    )
    const injector = server.createConnectionInjector(credentialsOf(tls))
    let accepting = true
    const onConnection = (socket: net.Socket): void => {
      socket.on("error", () => socket.destroy())
      if (!accepting) return void socket.destroy()
      sockets.add(socket)
      idle.closeUnsafe()
      socket.once("close", () => {
        sockets.delete(socket)
        if (sockets.size === 0) idle.openUnsafe()
      })
      injector.injectConnection(socket)
    }
    const addresses = typeof config.bind_addr === "string" ? [config.bind_addr] : config.bind_addr
    const listeners = yield* Effect.forEach(addresses, (address) => listen(address, config, onConnection))
    for (const { address } of listeners) {
      yield* Effect.logInfo("gRPC server listening").pipe(Effect.annotateLogs({ address }))
    }
    return GrpcServer.of({
      addresses: listeners.map(({ address }) => address),
      stopAccepting: Effect.sync(() => {
        if (!accepting) return
        accepting = false
        for (const listener of listeners) listener.server.close()
        // Sends GOAWAY. Its callback does not wait for injected connections; the sockets tell when the last one has gone.
        server.tryShutdown(() => {})
        for (const socket of sockets) {
          if (socket.bytesRead === 0) socket.destroy()
        }
      }),
      awaitIdle: idle.await
    })
  }
)

/**
 * The front by `@grpc/grpc-js`: the reference. Unlike `Http2Server` it cannot end a stream whose gateway has stopped to
 * read (see `internal/grpcJs/grpcJsServerCall.ts`).
 */
export const layer: Layer.Layer<GrpcServer, BindError, SidecarConfig | SidecarRoutes> = Layer.effect(GrpcServer, make)
