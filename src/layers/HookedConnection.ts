import { Effect, Layer, Option, Stream } from "effect"
import { FiberRoster } from "../internal/fiberRoster.ts"
import { openHooked, type ReplyHooks } from "../internal/hooks/hookedReplies.ts"
import { HookFailure, makeTeller } from "../internal/hooks/hookFailure.ts"
import { STREAM_PREDICT_PATH } from "../internal/wire/aiContract.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { type StreamHook, StreamHooks } from "../services/StreamHooks.ts"
import type { WorkerLink } from "../services/WorkerChannel.ts"
import { WorkerConnection } from "../services/WorkerConnection.ts"

/**
 * Leads the worker's text through the hooks' `replies` before it is counted: what comes out is what is delivered and billed.
 * Without such a hook it is the connection itself, and nothing is decoded.
 */
export const layer: Layer.Layer<WorkerConnection, never, WorkerConnection | SidecarConfig> = Layer.effect(
  WorkerConnection,
  Effect.gen(function*() {
    const connection = yield* WorkerConnection
    const hooks = Option.getOrElse(yield* Effect.serviceOption(StreamHooks), (): ReadonlyArray<StreamHook> => [])
    const rewriting = hooks.flatMap(({ name, replies }) => replies === undefined ? [] : [{ name, replies }])
    if (rewriting.length === 0) return connection
    const { metering } = yield* SidecarConfig
    const fibers = new FiberRoster()
    yield* Effect.addFinalizer(() => fibers.interruptAll)
    const run = Effect.runForkWith(yield* Effect.context<never>())

    const options: ReplyHooks = {
      names: rewriting.map(({ name }) => name).join(", "),
      tell: makeTeller(),
      get notices() {
        return metering.notice_prefixes
      },
      fork: (effect) => {
        const fiber = run(effect)
        fibers.own(fiber)
        return fiber
      },
      transform: (tokens, request) =>
        rewriting.reduce(
          (text: Stream.Stream<string, HookFailure>, { name, replies }): Stream.Stream<string, HookFailure> => {
            let above: HookFailure | undefined
            // A hook sees text, not another one's failure; that ends the stream all the same.
            const safe = text.pipe(Stream.catch((failure) => {
              above = failure
              return Stream.die(failure)
            }))
            return Stream.suspend(() => replies(safe, request)).pipe(
              Stream.catchCause((cause) =>
                Stream.fail(above ?? new HookFailure({ hook: name, part: "replies", cause }))
              )
            )
          },
          tokens
        )
    }
    // One for each link: who compares links compares the same ones.
    const hooked = new WeakMap<WorkerLink, WorkerLink>()
    const hookedLink = (link: WorkerLink): WorkerLink => {
      const known = hooked.get(link)
      if (known !== undefined) return known
      const made: WorkerLink = {
        open: (start) => start.path === STREAM_PREDICT_PATH ? openHooked(link, start, options) : link.open(start),
        gone: link.gone,
        isGoingAway: () => link.isGoingAway(),
        timesHeard: () => link.timesHeard(),
        openCalls: () => link.openCalls(),
        get ping() {
          return link.ping
        }
      }
      hooked.set(link, made)
      return made
    }
    return WorkerConnection.of({
      ...connection,
      link: () => {
        const link = connection.link()
        return link === undefined ? undefined : hookedLink(link)
      }
    })
  })
)
