import { Clock, type Duration, Effect, type Fiber, Latch, type Scope } from "effect"
import type { CallHandler } from "../services/GrpcServer.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { GatewayGone, interruptWith } from "../services/StreamError.ts"
import { type Departure, type Metadata, noMetadata } from "../services/Wire.ts"
import { encodeRequest, framed, type PredictInit } from "./Messages.ts"
import { Recorder } from "./Recorder.ts"
import { type GatewayReply, ScriptedServerCall } from "./scriptedServerCall.ts"
import { STREAM_PREDICT } from "./ScriptedWorker.ts"

export type { GatewayReply } from "./scriptedServerCall.ts"

/** How a gateway behaves in one call. */
export interface GatewayOptions {
  /** Default StreamPredict. */
  readonly path?: string | undefined
  /** The one request message. Default model `qwen-7b`, prompt `hello`. */
  readonly request?: PredictInit | undefined
  /** Request messages as bytes, instead of `request`; empty: none at all. */
  readonly messages?: ReadonlyArray<Uint8Array> | undefined
  readonly metadata?: Metadata | undefined
  /** The deadline that it tells the sidecar, in milliseconds. Default none. */
  readonly timeoutMillis?: number | undefined
  /** When it half-closes. Default at once. */
  readonly halfClose?: "at once" | "at the end" | "never" | undefined
  /** Leaves that long after the start, unless the call has ended. */
  readonly cancelAfter?: Duration.Input | undefined
  /** Its connection breaks that long after the start. */
  readonly vanishAfter?: Duration.Input | undefined
  /** Leaves once it has read so many messages; what comes in the same turn it still reads. */
  readonly cancelAfterMessages?: number | undefined
  /**
   * How it reads: everything at once (the default), one message each `every`, or nothing more once it has read
   * `stallAfter` messages.
   */
  readonly reader?: "eager" | { readonly every: Duration.Input } | { readonly stallAfter: number } | undefined
  /** Bytes that may wait unread before `write` answers "full". Default 65536. */
  readonly windowBytes?: number | undefined
  readonly peer?: { readonly address: string; readonly trusted: boolean } | undefined
}

/** A call under way. */
export interface GatewayCall {
  /** What the gateway has seen so far. */
  readonly seen: GatewayReply
  /** Waits until it is over for the gateway: its status was read, or the gateway left. */
  readonly ended: Effect.Effect<GatewayReply>
  /** Waits until the sidecar has finished its work for the call, too. */
  readonly handled: Effect.Effect<GatewayReply>
  readonly cancel: Effect.Effect<void>
  readonly vanish: Effect.Effect<void>
  /** Reads up to so many of the messages that wait (a stalled reader's only way to read). */
  readonly read: (messages: number) => Effect.Effect<void>
  /** Waits until it has read so many messages. */
  readonly received: (messages: number) => Effect.Effect<void>
}

/** Opens a call on any handler of the sidecar. It lives in the scope; what is left of it then vanishes. */
export const openOn = Effect.fnUntraced(function*(
  handler: CallHandler,
  options: GatewayOptions = {}
): Effect.fn.Return<GatewayCall, never, Recorder | Scope.Scope> {
  const recorder = yield* Recorder
  const clock = yield* Clock.Clock
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const id = recorder.nextGatewayCall()
  const progress = Latch.makeUnsafe(false)
  const { reader = "eager" } = options

  const call = new ScriptedServerCall({
    id,
    path: options.path ?? STREAM_PREDICT,
    metadata: options.metadata ?? noMetadata,
    timeoutMillis: options.timeoutMillis,
    arrivedAt: Number(clock.monotonicTimeNanosUnsafe()) / 1e6,
    peer: options.peer ?? { address: "127.0.0.1:40000", trusted: true },
    windowBytes: options.windowBytes ?? 65_536,
    now: () => clock.currentTimeMillisUnsafe(),
    record: (what, detail) => recorder.record("gateway", what, detail, id),
    onProgress: () => onProgress()
  })
  call.eager = reader === "eager"
  let fiber: Fiber.Fiber<void> | undefined

  const leave = (departure: Departure): void => {
    if (call.leave(departure) && fiber !== undefined) interruptWith(fiber, new GatewayGone({ departure }))
  }

  let impatient = options.cancelAfterMessages
  const onProgress = (): void => {
    progress.openUnsafe()
    if (impatient === undefined || call.seen.messages.length < impatient) return
    impatient = undefined
    // In a turn of its own, as a RST_STREAM comes: never from within the sidecar's `write`.
    fork(Effect.andThen(Effect.yieldNow, Effect.sync(() => leave("cancelled"))))
  }

  const until = (condition: () => boolean): Effect.Effect<void> =>
    Effect.gen(function*() {
      while (!condition()) {
        progress.closeUnsafe()
        yield* progress.await
      }
    })

  recorder.record("gateway", "call opened", call.path, id)
  const messages = options.messages ?? [encodeRequest(options.request ?? { modelId: "qwen-7b", prompt: "hello" })]
  if (messages.length > 0) call.send(framed(...messages))
  if ((options.halfClose ?? "at once") === "at once") call.halfClose()
  // As a server does: the handler runs in a fiber of its own, which is interrupted when the gateway leaves.
  const handling = handler(call).pipe(Effect.onExit(() =>
    Effect.sync(() => {
      call.seen.handledAt = clock.currentTimeMillisUnsafe()
      progress.openUnsafe()
    })
  ))
  fiber = fork(handling)
  const { left } = call.seen
  if (left !== undefined) interruptWith(fiber, new GatewayGone({ departure: left }))
  yield* Effect.addFinalizer(() => Effect.sync(() => leave("vanished")))

  const inBackground = (effect: Effect.Effect<void>) => Effect.forkScoped(effect, { startImmediately: true })
  if (options.cancelAfter !== undefined) {
    yield* inBackground(Effect.andThen(Effect.sleep(options.cancelAfter), Effect.sync(() => leave("cancelled"))))
  }
  if (options.vanishAfter !== undefined) {
    yield* inBackground(Effect.andThen(Effect.sleep(options.vanishAfter), Effect.sync(() => leave("vanished"))))
  }
  if (options.halfClose === "at the end") {
    yield* inBackground(Effect.andThen(
      until(() => call.seen.endedAt !== undefined || call.seen.replies.some((reply) => reply.endOfStream)),
      Effect.sync(() => call.halfClose())
    ))
  }
  const readNow = (count: number): void => {
    if (call.read(count) > 0) onProgress()
  }
  if (reader !== "eager") {
    const readOn = "every" in reader
      ? Effect.gen(function*() {
        while (call.seen.endedAt === undefined) {
          yield* Effect.sleep(reader.every)
          readNow(1)
        }
      })
      : Effect.gen(function*() {
        while (call.seen.endedAt === undefined && call.seen.messages.length < reader.stallAfter) {
          yield* until(() => call.unread > 0 || call.seen.endedAt !== undefined)
          readNow(1)
        }
      })
    yield* inBackground(readOn)
  }

  return {
    seen: call.seen,
    ended: Effect.as(until(() => call.seen.endedAt !== undefined), call.seen),
    handled: Effect.as(
      until(() => call.seen.endedAt !== undefined && call.seen.handledAt !== undefined),
      call.seen
    ),
    cancel: Effect.sync(() => leave("cancelled")),
    vanish: Effect.sync(() => leave("vanished")),
    read: (count) => Effect.sync(() => readNow(count)),
    received: (count) => until(() => call.seen.messages.length >= count)
  }
})

/** Opens a StreamPredict call on the sidecar's proxy. */
export const open = (
  options: GatewayOptions = {}
): Effect.Effect<GatewayCall, never, InferenceProxy | Recorder | Scope.Scope> =>
  Effect.flatMap(InferenceProxy, (proxy) => openOn(proxy.predict, options))

/** Opens so many calls at once. */
export const openMany = (
  count: number,
  optionsOf: (n: number) => GatewayOptions = () => ({})
): Effect.Effect<ReadonlyArray<GatewayCall>, never, InferenceProxy | Recorder | Scope.Scope> =>
  Effect.forEach(Array.from({ length: count }, (_, n) => n), (n) => open(optionsOf(n)))

/** One StreamPredict call from start to end. */
export const predict = (
  options: GatewayOptions = {}
): Effect.Effect<GatewayReply, never, InferenceProxy | Recorder> =>
  Effect.scoped(Effect.flatMap(open(options), (call) => call.handled))
