import { Effect, Layer } from "effect"
import { readFileSync } from "node:fs"
import { BindError } from "../services/GrpcServer.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { CallStart } from "../services/Wire.ts"
import { WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"
import { isToken, roomForToken } from "../services/WorkerToken.ts"

const KEY = "[server] worker_token_file"

/** A mistake is told without a word of what the file holds. */
const mistake = (file: string, detail: string): BindError =>
  new BindError({ key: KEY, address: file, reason: "unavailable", detail: `${KEY}: ${detail}` })

/** The token in a file, as secrets are mounted: a line break at its end is not part of it. */
const readToken = (file: string, maxMetadataBytes: number): Effect.Effect<string, BindError> =>
  Effect.gen(function*() {
    const text = yield* Effect.try({
      try: () => readFileSync(file, "utf8"),
      catch: () => mistake(file, `cannot read ${file}`)
    })
    const token = text.trim()
    if (!isToken(token)) {
      return yield* mistake(file, `${file} holds no token: one line of printable ASCII without spaces`)
    }
    const room = roomForToken(maxMetadataBytes)
    if (token.length <= room) return token
    return yield* mistake(
      file,
      `the token in ${file} has ${token.length} bytes; lower [server] max_metadata_bytes by ${
        token.length - room
      }, so ` +
        "that both fit into what a worker takes"
    )
  })

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
    const { max_metadata_bytes, worker_token, worker_token_file } = (yield* SidecarConfig).server
    if (worker_token_file === undefined) {
      return worker_token === undefined
        ? channel
        : { ...channel, dial: Effect.map(channel.dial, (link) => authorized(link, worker_token)) }
    }
    const read = readToken(worker_token_file, max_metadata_bytes)
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
