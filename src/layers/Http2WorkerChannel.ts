import { Clock, Deferred, Effect, Exit, Layer, type Scope } from "effect"
import type * as net from "node:net"
import type { ConnectionHandler } from "../http2/connectionTypes.ts"
import { Loop } from "../http2/driver/loop.ts"
import { PatientSocket } from "../http2/driver/patientSocket.ts"
import { SocketDriver } from "../http2/driver/socketDriver.ts"
import { ErrorCode } from "../http2/protocol.ts"
import { CancelRate } from "../internal/http2/cancelRate.ts"
import { type CallOwner, Http2WorkerCall } from "../internal/http2/http2WorkerCall.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { goAwayWords } from "../internal/wire/goAwayWords.ts"
import { lifeSign } from "../internal/wire/lifeSign.ts"
import { openPulled } from "../internal/wire/pulledCall.ts"
import { type WorkerEndpoint, workerEndpoint } from "../internal/wire/workerEndpoint.ts"
import { Limits } from "../services/Limits.ts"
import { MessageBudget } from "../services/MessageBudget.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"
import { LinkError, WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"

const OPTIONS = {
  role: "client",
  // A socket on the same machine needs no more to be kept busy, and each gateway that reads nothing costs as much memory.
  settings: { initialWindow: 32 * 1024 },
  // The streams' own windows hold a stalled one back, this one must never be in the way.
  connectionWindow: 8 * 1024 * 1024,
  // Whether the worker is late is for the health checks to say.
  settingsMillis: Number.POSITIVE_INFINITY
} as const

/** Connects; a socket that is not wanted any more is destroyed, whatever state it is in. */
const connect = (worker: WorkerEndpoint): Effect.Effect<PatientSocket, LinkError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<PatientSocket, LinkError>((resume) => {
      const fault = worker.faultBefore()
      if (fault !== undefined) return resume(Effect.fail(fault))
      const socket = new PatientSocket().connect(worker.connect)
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

/** What is heard of a link before and after it has proved to be one. */
class LinkEvents implements ConnectionHandler {
  /** The worker's SETTINGS have come: the proof that it speaks HTTP/2. */
  readonly ready = Deferred.makeUnsafe<void, LinkError>()
  readonly gone = Deferred.makeUnsafe<LinkError>()
  goingAway = false
  readonly #name: string
  readonly #socket: net.Socket
  readonly #onBroken: () => void

  /** `onBroken`: the worker has said that it is about to close the connection for an error. */
  constructor(name: string, socket: net.Socket, onBroken: () => void) {
    this.#name = name
    this.#socket = socket
    this.#onBroken = onBroken
  }

  onReady(): void {
    Deferred.doneUnsafe(this.ready, Exit.void)
  }

  onGoaway(code: number, _lastStreamId: number, debug: string): void {
    this.goingAway ||= code === ErrorCode.NO_ERROR
    this.#leave(this.goingAway ? "GoingAway" : "LinkBroken", goAwayWords(code, debug))
    // Once the calls that it has not seen have been told so.
    if (code !== ErrorCode.NO_ERROR) queueMicrotask(this.#onBroken)
  }

  onClose(): void {
    const name = this.#name
    const heard = this.#socket.bytesRead > 0
    const detail = heard ? `${name} answers, but does not speak gRPC` : `${name} closed the connection at once`
    Deferred.doneUnsafe(this.ready, Exit.fail(new LinkError({ fault: heard ? "NotGrpc" : "LinkBroken", detail })))
    this.#leave("LinkBroken", `connection to ${name} closed`)
  }

  onRequest(): void {}
  onLimit(): void {}
  onForeign(): void {}
  onIdle(): void {}

  #leave(fault: "LinkBroken" | "GoingAway", detail: string): void {
    Deferred.doneUnsafe(this.gone, Exit.succeed(new LinkError({ fault, detail })))
  }
}

const makeLink = (loop: Loop, worker: WorkerEndpoint, server: Settings["server"], budget: MessageBudget) =>
  Effect.gen(function*() {
    const limits = yield* Limits
    const socket = yield* connect(worker)
    const events = new LinkEvents(worker.name, socket, () => driver.connection.lost("the worker said GOAWAY"))
    const driver: SocketDriver = yield* Effect.acquireRelease(
      Effect.sync(() => new SocketDriver(loop, socket, false, OPTIONS, events)),
      (driver) => Effect.sync(() => driver.destroy())
    )
    const { connection } = driver
    yield* Deferred.await(events.ready)

    const perSecond = server.max_worker_cancels_per_sec
    const late = () =>
      limits.reached(
        "worker_cancels",
        () =>
          `more than ${perSecond} calls a second are cancelled ([server] max_worker_cancels_per_sec): what the worker still ` +
          "says on them is read and dropped"
      )
    const cancels = yield* Effect.acquireRelease(
      Effect.sync(() => new CancelRate(perSecond, loop.now, late)),
      (cancels) => Effect.sync(() => cancels.stop())
    )
    let open = 0
    let heard = 0
    const owner: CallOwner = {
      maxMessageBytes: server.max_message_bytes,
      budget,
      open: (head, handler) => {
        const stream = connection.open(head, handler)
        if (stream !== undefined) open++
        return stream
      },
      cancel: (stream) => cancels.cancel(stream),
      heard: () => {
        heard++
      },
      closed: () => {
        open--
      }
    }
    const link: WorkerLink = {
      open: (start) => openPulled(() => new Http2WorkerCall(owner), (call) => call.open(start)),
      gone: Deferred.await(events.gone),
      isGoingAway: () => events.goingAway,
      timesHeard: () => heard,
      openCalls: () => open,
      ping: lifeSign(connection, () => heard)
    }
    return link
  })

/** The hop to the worker on our own HTTP/2 over its Unix socket or TCP; one connection a dial, no reconnect of its own. */
export const layer: Layer.Layer<WorkerChannel, never, SidecarConfig> = Layer.effect(
  WorkerChannel,
  Effect.gen(function*() {
    const { server } = yield* SidecarConfig
    const worker = workerEndpoint(server)
    const loop = new Loop(monotonicMillis(yield* Clock.Clock))
    return WorkerChannel.of({
      dial: makeLink(loop, worker, server, yield* MessageBudget),
      addressChanges: worker.changes,
      address: worker.address
    })
  })
)
