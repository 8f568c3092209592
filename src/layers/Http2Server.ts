import { Clock, Effect, Latch, Layer, type Scope } from "effect"
import type * as net from "node:net"
import type * as tls from "node:tls"
import { Gate, Visitor } from "../http2/driver/gate.ts"
import { Loop } from "../http2/driver/loop.ts"
import { ErrorCode } from "../http2/protocol.ts"
import { FiberRoster } from "../internal/fiberRoster.ts"
import { connectionReport } from "../internal/http2/connectionReport.ts"
import { possibleConnections, watchDescriptors } from "../internal/http2/descriptors.ts"
import { type Front, GatewayConnection } from "../internal/http2/gatewayConnection.ts"
import { Http2ServerCall } from "../internal/http2/http2ServerCall.ts"
import { admitRequest } from "../internal/http2/httpRequest.ts"
import { tlsDoor } from "../internal/http2/tlsDoor.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { isOutOfFiles } from "../internal/openFiles.ts"
import { listen } from "../internal/wire/listen.ts"
import { namesOf, type PeerFacts, trustOf } from "../internal/wire/trust.ts"
import { GatewayMetrics } from "../services/GatewayMetrics.ts"
import { type BindError, GrpcServer, SidecarRoutes } from "../services/GrpcServer.ts"
import { MessageBudget } from "../services/MessageBudget.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller } from "../services/SidecarEvents.ts"
import { interruptWith } from "../services/StreamError.ts"
import type { ServerCall } from "../services/Wire.ts"

/** As Node's documentation has it: of these two kinds of socket, only one has `encrypted`. */
const isTls = (socket: net.Socket): socket is tls.TLSSocket => "encrypted" in socket

/** Who is at the other end. Of a TCP connection that is already reset, Node knows no address: nobody trusts that one. */
const peerOf = (
  socket: net.Socket,
  kind: "unix" | "tcp",
  trusted: (peer: PeerFacts) => boolean
): ServerCall["peer"] => {
  const ip = kind === "unix" ? undefined : socket.remoteAddress ?? "gone"
  const names = () => isTls(socket) && socket.authorized ? namesOf(socket.getPeerCertificate()) : []
  return {
    address: ip === undefined ? "unix" : ip === "gone" ? ip : `${ip}:${socket.remotePort}`,
    trusted: trusted({ ip, names })
  }
}

/** A TCP connection's two ends. */
const endsOf = (socket: net.Socket): string =>
  `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`

const make: Effect.Effect<
  GrpcServer["Service"],
  BindError,
  SidecarConfig | SidecarRoutes | GatewayMetrics | Scope.Scope
> = Effect.gen(function*() {
  const config = (yield* SidecarConfig).server
  const { fallback, routes } = yield* SidecarRoutes
  const metrics = yield* GatewayMetrics
  const now = monotonicMillis(yield* Clock.Clock)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const calls = new FiberRoster()
  const trusted = trustOf(config.control)

  const loop = new Loop(now)
  const settings = { maxMessageBytes: config.max_message_bytes, budget: yield* MessageBudget }
  const report = connectionReport(metrics, run, now, yield* eventTeller)
  const idle = yield* Latch.make(true)
  let accepting = true
  const possible = yield* possibleConnections(config.max_connections)
  const gate = new Gate(
    {
      get maxConnections() {
        return Math.min(config.max_connections, possible)
      },
      get maxPerAddress() {
        return config.max_connections_per_address
      }
    },
    (limit, address) => report.limit(limit, address)
  )
  /** Sockets from their accept to their end. */
  const sockets = new Set<net.Socket>()
  const connections = new Map<GatewayConnection, Visitor | undefined>()
  /** Who is in a TLS handshake, by the two ends of the connection. */
  const shaking = new Map<string, Visitor>()

  const front: Front = {
    loop,
    report,
    get slowReaderMillis() {
      return config.slow_reader_timeout_secs * 1000
    },
    get resetsPerSecond() {
      return config.max_resets_per_sec
    },
    onCall: (stream, block, arrivedAt, peer) => {
      const head = admitRequest(stream, block, arrivedAt, peer)
      if (head === undefined) return
      const call = new Http2ServerCall(stream, head, settings)
      if (block.tooLarge) report.limit("header_list", peer.address)
      if (head.refusal !== undefined) return call.end(head.refusal)
      const fiber = run((routes.get(call.path) ?? fallback)(call))
      if (fiber.pollUnsafe() !== undefined) return
      calls.own(fiber)
      call.onLeave((why) => interruptWith(fiber, why))
    },
    onBusy: (connection, busy) => {
      const visitor = connections.get(connection)
      if (visitor !== undefined) gate.busy(visitor, busy)
    },
    onDone: (connection) => {
      if (connections.delete(connection) && connections.size === 0) idle.openUnsafe()
    }
  }

  const serve = (
    socket: net.Socket,
    kind: "unix" | "tcp",
    visitor: Visitor | undefined,
    encrypted: boolean
  ): GatewayConnection => {
    idle.closeUnsafe()
    const connection = new GatewayConnection(front, socket, peerOf(socket, kind, trusted), encrypted)
    connections.set(connection, visitor)
    if (!accepting) connection.driver.connection.drain()
    return connection
  }

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const { driver } of connections.keys()) {
        driver.connection.abort(ErrorCode.NO_ERROR, "shutting down")
        driver.flush()
        driver.destroy()
      }
      for (const socket of sockets) socket.destroy()
    })
  )

  const addresses = typeof config.bind_addr === "string" ? [config.bind_addr] : config.bind_addr
  const listeners = yield* Effect.forEach(addresses, (address) =>
    Effect.gen(function*() {
      const kind = address.startsWith("unix:") ? "unix" : "tcp"
      const secure = yield* tlsDoor(config, {
        onSecure: (socket) => {
          const visitor = shaking.get(endsOf(socket))
          const connection = serve(socket, kind, visitor, true)
          if (visitor !== undefined) visitor.dismiss = () => connection.dismiss()
        },
        onFault: (fault, socket, detail) => report.closed(fault, socket.remoteAddress ?? kind, detail, true)
      })
      return yield* listen(address, config, (socket) => {
        socket.on("error", () => socket.destroy())
        const from = kind === "unix" ? undefined : socket.remoteAddress
        if (!accepting || !gate.admits(from)) {
          return void socket.destroy()
        }
        const ends = endsOf(socket)
        const visitor = new Visitor(from, () => socket.destroy())
        gate.enter(visitor)
        sockets.add(socket)
        if (kind === "unix") gate.busy(visitor, true)
        else if (secure !== undefined) shaking.set(ends, visitor)
        metrics.gatewayConnections(gate.size)
        socket.once("close", () => {
          sockets.delete(socket)
          shaking.delete(ends)
          gate.left(visitor)
          metrics.gatewayConnections(gate.size)
        })
        if (secure !== undefined) return secure(socket)
        const connection = serve(socket, kind, kind === "unix" ? undefined : visitor, false)
        visitor.dismiss = () => connection.dismiss()
      }, (error) => report.limit(isOutOfFiles(error.code) ? "descriptors" : "accept", "any"))
    }))
  yield* Effect.forkScoped(watchDescriptors(() => report.limit("descriptors", "any")))
  // After the listeners, so that it runs before them: who calls is told first.
  yield* Effect.addFinalizer(() => calls.interruptAll)
  for (const { address } of listeners) {
    yield* Effect.logInfo("gRPC server listening").pipe(Effect.annotateLogs({ address }))
  }

  return GrpcServer.of({
    addresses: listeners.map((listener) => listener.address),
    stopAccepting: Effect.sync(() => {
      accepting = false
      for (const { server } of listeners) server.close()
      for (const { driver } of connections.keys()) driver.connection.drain()
    }),
    awaitIdle: idle.await
  })
})

/** The front on our own HTTP/2: TCP and Unix sockets, plain or TLS. */
export const layer: Layer.Layer<GrpcServer, BindError, SidecarConfig | SidecarRoutes | GatewayMetrics> = Layer.effect(
  GrpcServer,
  make
)
