import { Clock, Effect, Fiber, Latch, Layer, type Scope } from "effect"
import * as http2 from "node:http2"
import type * as net from "node:net"
import * as tls from "node:tls"
import { awaitHalfClose } from "../internal/http2/awaitHalfClose.ts"
import { type CallHead, Http2ServerCall } from "../internal/http2/http2ServerCall.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { turnClock } from "../internal/turnClock.ts"
import * as GrpcTimeout from "../internal/wire/grpcTimeout.ts"
import { listen } from "../internal/wire/listen.ts"
import { first } from "../internal/wire/metadata.ts"
import { tlsFiles } from "../internal/wire/tlsFiles.ts"
import { namesOf, type PeerFacts, trustOf } from "../internal/wire/trust.ts"
import { type BindError, GrpcServer, SidecarRoutes } from "../services/GrpcServer.ts"
import { MessageBudget } from "../services/MessageBudget.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import * as Status from "../services/Status.ts"
import type { ServerCall } from "../services/Wire.ts"

/** Connections beyond this are closed at once; each may carry thousands of streams. */
const MAX_CONNECTIONS = 4096
/** Time in which a new connection must have sent its HTTP/2 preface and SETTINGS. */
const PREFACE_MILLIS = 10_000
/** A gateway that answers no PING is gone; so is one that never ends a header block. */
const KEEPALIVE_MILLIS = 30_000
const KEEPALIVE_TIMEOUT_MILLIS = 20_000

const SESSION_OPTIONS: http2.SecureServerOptions = {
  settings: {
    // A backstop far above `[server] max_concurrent_streams`: C-core gateways queue silently at this limit, while we
    // refuse with a status.
    maxConcurrentStreams: 8192
  },
  // In MB. The default of 10 refuses new streams when a few large frames are under way.
  maxSessionMemory: 4096,
  // A busy gateway that cancels hundreds of streams a second is no attack.
  streamResetBurst: 100_000,
  streamResetRate: 10_000
}

/** The name of a message encoding; a longer one would count against the worker's limit for headers. */
const ENCODING = /^[a-z0-9_.-]{1,32}$/

/** Who is at the other end. Of a TCP connection that is already reset, Node knows no address: nobody trusts that one. */
const peerOf = (
  socket: net.Socket,
  kind: "unix" | "tcp",
  trusted: (peer: PeerFacts) => boolean
): ServerCall["peer"] => {
  const ip = kind === "unix" ? undefined : socket.remoteAddress ?? "gone"
  const names = () => socket instanceof tls.TLSSocket && socket.authorized ? namesOf(socket.getPeerCertificate()) : []
  return {
    address: ip === undefined ? "unix" : ip === "gone" ? ip : `${ip}:${socket.remotePort}`,
    trusted: trusted({ ip, names })
  }
}

/** Takes the TLS handshake of each connection; `undefined`: plaintext. */
const tlsServer = Effect.fnUntraced(
  function*(config: SidecarConfig["Service"]["server"], onSecure: (socket: tls.TLSSocket) => void) {
    const files = yield* tlsFiles(config)
    if (files === undefined) return undefined
    const { cert, clientCa, key } = files
    const client = clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: true }
    const server = tls.createServer(
      { cert, key, ...client, ALPNProtocols: ["h2"], handshakeTimeout: PREFACE_MILLIS },
      onSecure
    )
    server.on("tlsClientError", (_, socket) => socket.destroy())
    return server
  }
)

/** Answers what is not a gRPC call in plain HTTP (gRPC over HTTP/2, "HTTP2 Transport Mapping"). */
const refuseHttp = (stream: http2.ServerHttp2Stream, status: number): void => {
  stream.respond({ ":status": status }, { endStream: true })
  stream.resume()
  awaitHalfClose(stream)
}

/** Asks now and then whether the gateway is still there, until the session closes. */
const keepAlive = (session: http2.ServerHttp2Session): void => {
  let dead: NodeJS.Timeout | undefined
  const timer = setInterval(() => {
    if (session.destroyed) return
    clearTimeout(dead)
    dead = setTimeout(() => session.destroy(), KEEPALIVE_TIMEOUT_MILLIS)
    session.ping(() => clearTimeout(dead))
  }, KEEPALIVE_MILLIS)
  session.once("close", () => {
    clearInterval(timer)
    clearTimeout(dead)
  })
}

const make: Effect.Effect<GrpcServer["Service"], BindError, SidecarConfig | SidecarRoutes | Scope.Scope> = Effect.gen(
  function*() {
    const config = (yield* SidecarConfig).server
    const { fallback, routes } = yield* SidecarRoutes
    const arrival = turnClock(monotonicMillis(yield* Clock.Clock))
    const track = Fiber.runIn(yield* Effect.scope)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const trusted = trustOf(config.control)

    const sessions = new Map<http2.Http2Session, ServerCall["peer"]>()
    const idle = yield* Latch.make(true)
    let accepting = true
    const settings = {
      maxMessageBytes: config.max_message_bytes,
      slowReaderMillis: config.slow_reader_timeout_secs * 1000,
      budget: yield* MessageBudget
    }

    const onStream = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void => {
      const peer = stream.session === undefined ? undefined : sessions.get(stream.session)
      if (stream.destroyed || stream.closed || peer === undefined) return
      // A stream whose connection fails says "error", also one that is only refused; "close" tells the rest.
      stream.on("error", () => {})
      if (headers[":method"] !== "POST") return refuseHttp(stream, 405)
      if (!/^application\/grpc(?:$|[+;])/.test(headers["content-type"] ?? "")) return refuseHttp(stream, 415)
      const path = headers[":path"] ?? ""
      const encoding = first(headers, "grpc-encoding")
      const head: CallHead = {
        path,
        metadata: headers,
        timeoutMillis: GrpcTimeout.parse(first(headers, "grpc-timeout")),
        arrivedAt: arrival(),
        encoding: encoding === "identity" ? undefined : encoding,
        peer
      }
      const call = new Http2ServerCall(stream, head, settings)
      if (encoding !== undefined && !ENCODING.test(encoding)) {
        return call.end(Status.make(Status.Code.UNIMPLEMENTED, "grpc-encoding is not supported"))
      }
      if (Number.isNaN(head.timeoutMillis)) {
        return call.end(Status.make(Status.Code.INTERNAL, "grpc-timeout is not of the form <digits><unit>"))
      }
      const fiber = track(run((routes.get(path) ?? fallback)(call)))
      if (fiber.pollUnsafe() === undefined) call.onLeave(() => fiber.interruptUnsafe())
    }

    const server = http2.createServer(SESSION_OPTIONS)
    server.on("stream", onStream)
    server.on("sessionError", () => {
      // The session's "close" follows; its streams hear it.
    })
    /** Whose connection the server makes a session of right now. */
    let arriving: ServerCall["peer"] = { address: "unknown", trusted: false }
    server.on("session", (session) => {
      sessions.set(session, arriving)
      idle.closeUnsafe()
      const preface = setTimeout(() => session.destroy(), PREFACE_MILLIS)
      session.once("remoteSettings", () => clearTimeout(preface))
      keepAlive(session)
      session.once("close", () => {
        clearTimeout(preface)
        sessions.delete(session)
        if (sessions.size === 0) idle.openUnsafe()
      })
      if (!accepting) session.close()
    })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const session of sessions.keys()) session.destroy()
      })
    )

    const arrive = (socket: net.Socket, kind: "unix" | "tcp"): void => {
      socket.on("error", () => socket.destroy())
      arriving = peerOf(socket, kind, trusted)
      server.emit("connection", socket)
    }

    const addresses = typeof config.bind_addr === "string" ? [config.bind_addr] : config.bind_addr
    const listeners = yield* Effect.forEach(addresses, (address) =>
      Effect.gen(function*() {
        const kind = address.startsWith("unix:") ? "unix" : "tcp"
        const secure = yield* tlsServer(config, (socket) => arrive(socket, kind))
        return yield* listen(address, config, (socket) => {
          socket.on("error", () => socket.destroy())
          if (sessions.size >= MAX_CONNECTIONS || !accepting) socket.destroy()
          else if (secure === undefined) arrive(socket, kind)
          else secure.emit("connection", socket)
        })
      }))
    for (const { address } of listeners) {
      yield* Effect.logInfo("gRPC server listening").pipe(Effect.annotateLogs({ address }))
    }

    return GrpcServer.of({
      addresses: listeners.map((listener) => listener.address),
      stopAccepting: Effect.sync(() => {
        accepting = false
        for (const { server } of listeners) server.close()
        for (const session of sessions.keys()) session.close()
      }),
      awaitIdle: idle.await
    })
  }
)

/** The front on `node:http2`: TCP and Unix sockets, frames in and out without a library in between. */
export const layer: Layer.Layer<GrpcServer, BindError, SidecarConfig | SidecarRoutes> = Layer.effect(GrpcServer, make)
