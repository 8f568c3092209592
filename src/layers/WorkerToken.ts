import { Effect, Layer } from "effect"
import { readToken } from "../internal/wire/workerTokenFile.ts"
import type { BindError } from "../services/GrpcServer.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { CallStart } from "../services/Wire.ts"
import { WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"

const withToken = (start: CallStart, token: string): CallStart =>
  start.metadata["authorization"] === undefined
    ? {
      path: start.path,
      encoding: start.encoding,
      get timeoutMillis() {
        return start.timeoutMillis
      },
      metadata: { ...start.metadata, authorization: `Bearer ${token}` }
    }
    : start

/** The link on which calls without credentials of their own carry `token`. */
const authorized = (link: WorkerLink, token: string): WorkerLink => ({
  open: (start) => link.open(withToken(start, token)),
  gone: link.gone,
  isGoingAway: link.isGoingAway,
  timesHeard: link.timesHeard,
  openCalls: link.openCalls,
  get ping() {
    return link.ping
  }
})

/**
 * A worker that demands `authorization: Bearer …` and gateways that send none: `[server] worker_token` is added to every
 * call to the worker, our own Health calls among them. What a gateway sends is never replaced.
 *
 * A `worker_token_file` is read again with every dial, so that a new secret is in force after the worker's restart.
 */
export const layer: Layer.Layer<WorkerChannel, BindError, WorkerChannel | SidecarConfig> = Layer.effect(
  WorkerChannel,
  Effect.gen(function*() {
    const channel = yield* WorkerChannel
    const { server } = yield* SidecarConfig
    const { worker_token, worker_token_file } = server
    if (worker_token_file === undefined) {
      return worker_token === undefined
        ? channel
        : { ...channel, dial: Effect.map(channel.dial, (link) => authorized(link, worker_token)) }
    }
    const read = Effect.suspend(() => readToken(worker_token_file, server.max_metadata_bytes))
    let token = yield* read
    const reread = Effect.matchEffect(read, {
      onSuccess: (fresh) =>
        Effect.sync(() => {
          token = fresh
        }),
      onFailure: (error) => Effect.logWarning(`${error.message}; the token that was read before stays in force`)
    })
    return {
      ...channel,
      dial: Effect.andThen(reread, Effect.map(channel.dial, (link) => authorized(link, token)))
    }
  })
)
