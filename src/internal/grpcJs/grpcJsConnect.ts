import * as grpc from "@grpc/grpc-js"
import { Effect, type Scope } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import * as diagnostics from "node:diagnostics_channel"
import * as net from "node:net"
import { LinkError } from "../../services/WorkerChannel.ts"
import type { WorkerEndpoint } from "../wire/workerEndpoint.ts"

/** Time in which somebody who accepted a connection and failed it says what he speaks. */
const EXPLAIN_MILLIS = 500
/** grpc-js's own backoff, 1 s by default: the try that nobody wants shall be over soon. */
const BACKOFF_MILLIS = 1
/** In this time a closed client has made its last try; a timer of {@link BACKOFF_MILLIS} fires first, however busy we are. */
const LATE_SOCKET_MILLIS = 100
/** The client's half of the HTTP/2 greeting: connection preface and an empty SETTINGS (RFC 9113 §3.4). */
const GREETING = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])
])
const SETTINGS_FRAME = 4

/** A grpc-js client with the one socket it may have. */
export interface Connected {
  readonly client: grpc.Client
  /** The connection is still there, so that a channel which is no longer READY has been sent away by GOAWAY. */
  readonly alive: () => boolean
}

const optionsOf = (maxMessageBytes: number): grpc.ClientOptions => ({
  "grpc.use_local_subchannel_pool": 1,
  "grpc.enable_retries": 0,
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_channelz": 0,
  "grpc.initial_reconnect_backoff_ms": BACKOFF_MILLIS,
  // The largest delay that a timer can have: never idle.
  "grpc.client_idle_timeout_ms": 2_147_483_647,
  "grpc.max_receive_message_length": maxMessageBytes,
  "grpc.default_authority": "localhost",
  "grpc.primary_user_agent": "cy-llm-sidecar"
})

/**
 * Makes a client and keeps hold of the sockets that it opens. grpc-js gives up neither a connect nor a frozen peer's
 * calls, and a client that was closed after a failed connect tries once more, a backoff later: behind our back, for good
 * if it meets the next worker. Destroying the socket is the one thing that helps, and Node tells of it on a diagnostics
 * channel.
 */
const open = (target: string, maxMessageBytes: number) => {
  const mine = new AsyncLocalStorage<true>()
  const sockets: Array<net.Socket> = []
  let closed = false
  const onSocket = (message: unknown): void => {
    if (mine.getStore() !== true || typeof message !== "object" || message === null || !("socket" in message)) return
    const { socket } = message
    if (!(socket instanceof net.Socket)) return
    sockets.push(socket)
    // Not from within `net.connect`, which brings a destroyed socket to life again.
    if (closed) queueMicrotask(() => socket.destroy())
  }
  const deafen = () => diagnostics.unsubscribe("net.client.socket", onSocket)
  diagnostics.subscribe("net.client.socket", onSocket)
  const client = mine.run(true, () => {
    const client = new grpc.Client(target, grpc.credentials.createInsecure(), optionsOf(maxMessageBytes))
    client.getChannel().getConnectivityState(true)
    return client
  })
  return {
    client,
    alive: () => sockets.some((socket) => !socket.destroyed && socket.readable),
    settled: deafen,
    close: () => {
      if (!closed) setTimeout(deafen, LATE_SOCKET_MILLIS).unref()
      closed = true
      client.close()
      for (const socket of sockets) socket.destroy()
    }
  }
}

/** Waits until the channel is READY (the peer's SETTINGS came) or its first attempt has failed. */
const settle = (client: grpc.Client): Effect.Effect<"ready" | "failed"> =>
  Effect.callback((resume) => {
    const channel = client.getChannel()
    let watching = true
    const look = (): void => {
      if (!watching) return
      const state = channel.getConnectivityState(false)
      if (state === grpc.connectivityState.READY) resume(Effect.succeed("ready"))
      else if (state === grpc.connectivityState.IDLE || state === grpc.connectivityState.CONNECTING) {
        channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look)
      } else resume(Effect.succeed("failed"))
    }
    look()
    return Effect.sync(() => {
      watching = false
    })
  })

/** grpc-js does not say why a connect failed: asks the address once more, by hand. */
const explain = (worker: WorkerEndpoint): Effect.Effect<LinkError> =>
  Effect.callback<LinkError>((resume) => {
    const say = (error: LinkError): void => {
      socket.destroy()
      resume(Effect.succeed(error))
    }
    const socket = net.connect(worker.connect)
    socket.once("error", (error) => say(worker.faultOf(error)))
    socket.once("connect", () => socket.write(GREETING))
    socket.once("data", (data: Buffer) =>
      say(
        data[3] === SETTINGS_FRAME
          ? new LinkError({ fault: "LinkBroken", detail: `${worker.name}: the connection broke while it was made` })
          : new LinkError({ fault: "NotGrpc", detail: `${worker.name} answers, but does not speak gRPC` })
      ))
    socket.once(
      "end",
      () => say(new LinkError({ fault: "LinkBroken", detail: `${worker.name} closed the connection at once` }))
    )
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeoutOrElse({
    duration: EXPLAIN_MILLIS,
    orElse: () =>
      Effect.succeed(
        new LinkError({ fault: "LinkBroken", detail: `${worker.name} accepted and failed the connection` })
      )
  }))

/** One attempt. Closing the scope closes the client and destroys its socket, whatever state they are in. */
export const connect = (
  worker: WorkerEndpoint,
  maxMessageBytes: number
): Effect.Effect<Connected, LinkError, Scope.Scope> =>
  Effect.gen(function*() {
    const fault = worker.faultBefore()
    if (fault !== undefined) return yield* fault
    const connection = yield* Effect.acquireRelease(
      Effect.sync(() => open(worker.target, maxMessageBytes)),
      (connection) => Effect.sync(connection.close)
    )
    const outcome = yield* settle(connection.client)
    if (outcome === "ready") {
      connection.settled()
      return connection
    }
    connection.close()
    return yield* yield* explain(worker)
  })
