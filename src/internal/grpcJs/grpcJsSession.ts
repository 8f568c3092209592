import { Effect, type Scope } from "effect"
import { AsyncLocalStorage } from "node:async_hooks"
import * as diagnostics from "node:diagnostics_channel"
import { goAwayWords } from "../wire/goAwayWords.ts"
import type { Asking } from "../wire/lifeSign.ts"

/** What is used of Node's HTTP/2 session. */
export interface GrpcJsSession {
  readonly destroyed: boolean
  ping(acknowledged: (error: Error | null) => void): unknown
  settings(settings: object, acknowledged: (error: Error | null) => void): unknown
  prependListener(
    event: "goaway",
    listener: (code: number, lastStreamId: number, data?: NodeJS.ArrayBufferView) => void
  ): unknown
}

/** Node tells of every HTTP/2 stream that a client opens (from Node 22.17 and 24.2 on). */
const STREAM_CREATED = "http2.client.stream.created"

/** The HTTP/2 session behind a grpc-js client, which grpc-js itself keeps to itself. */
export interface SessionWatch {
  /** Runs what opens a call: the first one tells which session the client has. */
  readonly watching: <A>(open: () => A) => A
  /** `undefined` before the first call was opened, and for good on a Node that tells nothing. */
  readonly session: () => GrpcJsSession | undefined
  /** The GOAWAY that came on it, which to grpc-js is one like the other. */
  readonly goAway: () => { readonly code: number; readonly detail: string } | undefined
}

const isSession = (value: object): value is GrpcJsSession =>
  "ping" in value && typeof value.ping === "function" && "settings" in value && typeof value.settings === "function"

const sessionOf = (message: unknown): GrpcJsSession | undefined => {
  if (typeof message !== "object" || message === null || !("stream" in message)) return undefined
  const { stream } = message
  if (typeof stream !== "object" || stream === null || !("session" in stream)) return undefined
  const { session } = stream
  return typeof session === "object" && session !== null && isSession(session) ? session : undefined
}

/** Listens until the first call has shown the session, or the scope ends. */
export const watchSession: Effect.Effect<SessionWatch, never, Scope.Scope> = Effect.gen(function*() {
  const mine = new AsyncLocalStorage<true>()
  let session: GrpcJsSession | undefined
  let goAway: { readonly code: number; readonly detail: string } | undefined
  const onStream = (message: unknown): void => {
    if (mine.getStore() !== true || session !== undefined) return
    session = sessionOf(message)
    if (session === undefined) return
    // Before grpc-js's own listener, which changes the state of the channel.
    session.prependListener("goaway", (code, _lastStreamId, data) => {
      const text = data === undefined
        ? ""
        : Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("latin1")
      goAway ??= { code, detail: goAwayWords(code, text) }
    })
    // Not from within the publication of this very message.
    queueMicrotask(deafen)
  }
  const deafen = (): void => void diagnostics.unsubscribe(STREAM_CREATED, onStream)
  yield* Effect.acquireRelease(
    Effect.sync(() => diagnostics.subscribe(STREAM_CREATED, onStream)),
    () => Effect.sync(deafen)
  )
  return {
    watching: (open) => session === undefined ? mine.run(true, open) : open(),
    session: () => session,
    goAway: () => goAway
  }
})

/** What of a session {@link lifeSign} asks. */
export const askingOf = (session: GrpcJsSession): Asking => {
  // Told with an error when the session is destroyed.
  const unless = (onAck: () => void) => (error: Error | null): void => {
    if (error === null) onAck()
  }
  return {
    ping: (onAck) => {
      if (!session.destroyed) session.ping(unless(onAck))
    },
    askBySettings: (onAck) => {
      if (!session.destroyed) session.settings({}, unless(onAck))
    }
  }
}
