import * as grpc from "@grpc/grpc-js"
import { Deferred, Effect, Exit, Layer, type Scope } from "effect"
import { connect, type Connected } from "../internal/grpcJs/grpcJsConnect.ts"
import { identity } from "../internal/grpcJs/grpcJsMessages.ts"
import { toGrpcJs } from "../internal/grpcJs/grpcJsMetadata.ts"
import { askingOf, type SessionWatch, watchSession } from "../internal/grpcJs/grpcJsSession.ts"
import { endUnsent } from "../internal/grpcJs/grpcJsStatus.ts"
import { type GrpcJsCallOwner, GrpcJsWorkerCall } from "../internal/grpcJs/grpcJsWorkerCall.ts"
import { lifeSign } from "../internal/wire/lifeSign.ts"
import { openListening, type RawCall, type ReplyListener } from "../internal/wire/pulledCall.ts"
import { type WorkerEndpoint, workerEndpoint } from "../internal/wire/workerEndpoint.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { CallStart } from "../services/Wire.ts"
import { LinkError, WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"

/** A longer deadline makes grpc-js throw from a timer; nobody waits for a year. */
const MAX_TIMEOUT_MILLIS = 365 * 24 * 3600 * 1000

/** The code of a GOAWAY that is no complaint (RFC 9113 §7). */
const NO_ERROR = 0

/** A call that could not be opened. */
const unsent: RawCall = { write: () => true, halfClose: () => {}, resume: () => {}, cancel: () => {} }

/** Completes when the channel leaves READY; from then on the client opens nothing and reconnects to nothing. */
const watchGone = ({ alive, client }: Connected, watch: SessionWatch, name: string) => {
  const gone = Deferred.makeUnsafe<LinkError>()
  let goingAway = false
  client.getChannel().watchConnectivityState(grpc.connectivityState.READY, Number.POSITIVE_INFINITY, () => {
    const said = watch.goAway()
    goingAway = alive() && (said === undefined || said.code === NO_ERROR)
    const error = new LinkError({
      fault: goingAway ? "GoingAway" : "LinkBroken",
      detail: said?.detail ?? (goingAway ? "worker said GOAWAY" : `connection to ${name} closed`)
    })
    Deferred.doneUnsafe(gone, Exit.succeed(error))
    // Not within grpc-js's own change of state. Running calls go on.
    queueMicrotask(() => client.close())
  })
  return { gone, isGoingAway: () => goingAway }
}

const start = (client: grpc.Client, { metadata, path, timeoutMillis }: CallStart) => {
  const options = timeoutMillis === undefined
    ? {}
    : { deadline: Date.now() + Math.min(timeoutMillis, MAX_TIMEOUT_MILLIS) }
  try {
    return client.makeBidiStreamRequest(path, identity, identity, toGrpcJs(metadata), options)
  } catch {
    // A closed client, or metadata that grpc-js refuses.
    return undefined
  }
}

const makeLink = (worker: WorkerEndpoint, maxMessageBytes: number): Effect.Effect<WorkerLink, LinkError, Scope.Scope> =>
  Effect.gen(function*() {
    const connected = yield* connect(worker, maxMessageBytes)
    const watch = yield* watchSession
    const { gone, isGoingAway } = watchGone(connected, watch, worker.name)
    let heard = 0
    let openCalls = 0
    let ping: Effect.Effect<void> | undefined
    const owner: GrpcJsCallOwner = {
      maxMessageBytes,
      heard: () => {
        heard++
      },
      closed: () => {
        openCalls--
      }
    }
    const openRaw = (call: CallStart, listener: ReplyListener): RawCall => {
      const stream = Deferred.isDoneUnsafe(gone) ? undefined : watch.watching(() => start(connected.client, call))
      if (stream === undefined) {
        listener.onEnd(endUnsent)
        return unsent
      }
      openCalls++
      return new GrpcJsWorkerCall(stream, call.encoding, listener, owner)
    }
    return {
      open: (call) => openListening(openRaw, call),
      gone: Deferred.await(gone),
      isGoingAway,
      timesHeard: () => heard,
      openCalls: () => openCalls,
      get ping() {
        const session = watch.session()
        if (session !== undefined) ping ??= lifeSign(askingOf(session), () => heard)
        return ping
      }
    }
  })

/**
 * The hop to the worker by `@grpc/grpc-js`: the reference. One client a dial, and none of grpc-js's own reconnecting or
 * retrying.
 *
 * **Gotchas**
 *
 * A status other than OK that comes right behind messages may overtake those that grpc-js has received and not yet
 * handed over; reading ahead makes that rare, and only `Http2WorkerChannel` makes it impossible.
 */
export const layer: Layer.Layer<WorkerChannel, never, SidecarConfig> = Layer.effect(
  WorkerChannel,
  Effect.gen(function*() {
    const { server } = yield* SidecarConfig
    const worker = workerEndpoint(server)
    return WorkerChannel.of({
      dial: makeLink(worker, server.max_message_bytes),
      addressChanges: worker.changes,
      address: worker.address
    })
  })
)
