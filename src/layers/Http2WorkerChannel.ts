import { Deferred, Effect, Exit, Layer, type Scope } from "effect"
import * as http2 from "node:http2"
import * as net from "node:net"
import { goAwayWords } from "../internal/http2/http2Status.ts"
import { type CallOwner, Http2WorkerCall } from "../internal/http2/http2WorkerCall.ts"
import { lifeSign } from "../internal/http2/lifeSign.ts"
import { type WorkerEndpoint, workerEndpoint } from "../internal/wire/workerEndpoint.ts"
import { MessageBudget } from "../services/MessageBudget.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { LinkError, WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"

/** Window of the whole session: the streams' own windows hold a stalled one back, this one must never be in the way. */
const SESSION_WINDOW_BYTES = 8 * 1024 * 1024

const SESSION_OPTIONS: http2.ClientSessionOptions = {
  settings: { enablePush: false },
  // In MB. The default of 10 refuses new streams when a few large frames are under way.
  maxSessionMemory: 4096,
  maxHeaderListPairs: 256
}

/** Connects; a socket that is not wanted any more is destroyed, whatever state it is in. */
const connect = (worker: WorkerEndpoint): Effect.Effect<net.Socket, LinkError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<net.Socket, LinkError>((resume) => {
      const fault = worker.faultBefore()
      if (fault !== undefined) return resume(Effect.fail(fault))
      const socket = net.connect(worker.connect)
      socket.once("error", (error) => resume(Effect.fail(worker.faultOf(error))))
      socket.once("connect", () => {
        socket.removeAllListeners("error")
        resume(Effect.succeed(socket))
      })
      return Effect.sync(() => socket.destroy())
    }),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )

/** Waits for the peer's SETTINGS: the proof that it speaks HTTP/2. */
const greet = (session: http2.ClientHttp2Session, socket: net.Socket, name: string): Effect.Effect<void, LinkError> =>
  Effect.callback<void, LinkError>((resume) => {
    const failed = () => {
      const heard = socket.bytesRead > 0
      resume(
        Effect.fail(
          new LinkError({
            fault: heard ? "NotGrpc" : "LinkBroken",
            detail: heard ? `${name} answers, but does not speak gRPC` : `${name} closed the connection at once`
          })
        )
      )
    }
    session.once("remoteSettings", () => {
      session.off("close", failed)
      resume(Effect.void)
    })
    session.once("close", failed)
  })

const makeLink = (worker: WorkerEndpoint, maxMessageBytes: number, budget: MessageBudget) =>
  Effect.gen(function*() {
    const socket = yield* connect(worker)
    const session = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const session = http2.connect("http://localhost", { ...SESSION_OPTIONS, createConnection: () => socket })
        session.on("error", () => {
          // Told by "close", which always follows.
        })
        return session
      }),
      (session) => Effect.sync(() => session.destroy())
    )
    yield* greet(session, socket, worker.name)
    session.setLocalWindowSize(SESSION_WINDOW_BYTES)

    const gone = Deferred.makeUnsafe<LinkError>()
    const leave = (fault: "LinkBroken" | "GoingAway", detail: string) => {
      Deferred.doneUnsafe(gone, Exit.succeed(new LinkError({ fault, detail })))
    }
    let goingAway = false
    session.on("goaway", (code, _lastStreamId, data) => {
      // `node:http2` closes the session behind any other code.
      goingAway ||= code === http2.constants.NGHTTP2_NO_ERROR
      leave(goingAway ? "GoingAway" : "LinkBroken", goAwayWords(code, data))
    })
    session.on("close", () => leave("LinkBroken", `connection to ${worker.name} closed`))

    const calls = new Set<Http2WorkerCall>()
    let heard = 0
    const owner: CallOwner = {
      maxMessageBytes,
      budget,
      opened: (call) => {
        calls.add(call)
      },
      heard: () => {
        heard++
      },
      closed: (call) => {
        calls.delete(call)
      }
    }
    const link: WorkerLink = {
      open: (start, listener) => new Http2WorkerCall(session, start, listener, owner),
      gone: Deferred.await(gone),
      isGoingAway: () => goingAway,
      timesHeard: () => heard,
      openCalls: () => calls.size,
      ping: lifeSign(session, () => heard)
    }
    return link
  })

/** The hop to the worker on `node:http2` over its Unix socket or TCP; one session a dial, no reconnect of its own. */
export const layer: Layer.Layer<WorkerChannel, never, SidecarConfig> = Layer.effect(
  WorkerChannel,
  Effect.gen(function*() {
    const { server } = yield* SidecarConfig
    const worker = workerEndpoint(server)
    return WorkerChannel.of({
      dial: makeLink(worker, server.max_message_bytes, yield* MessageBudget),
      addressChanges: worker.changes,
      address: worker.address
    })
  })
)
