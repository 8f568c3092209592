import { Duration, Effect, Layer, Option } from "effect"
import { GrpcServer } from "../services/GrpcServer.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"

/** Time for the last trailers to leave after every stream has ended. */
const FLUSH_SECS = 2

/**
 * Closing this layer's scope is the drain: health says NOT_SERVING and new streams are refused, GOAWAY goes to every
 * gateway (where there is a `GrpcServer`: streams may also be the application's own), running streams finish within `[server] drain_timeout_secs`, then they are ended. It stands above everything
 * that a running stream needs, so that it is the first to close.
 */
export const layer: Layer.Layer<never, never, InferenceProxy | SidecarConfig> = Layer.effectDiscard(
  Effect.gen(function*() {
    const server = Option.getOrUndefined(yield* Effect.serviceOption(GrpcServer))
    const proxy = yield* InferenceProxy
    const { server: settings } = yield* SidecarConfig
    yield* Effect.addFinalizer(() =>
      Effect.gen(function*() {
        const { drain_timeout_secs } = settings
        const streams = proxy.inFlight()
        yield* Effect.logInfo("draining").pipe(Effect.annotateLogs({ streams, limit_secs: drain_timeout_secs }))
        yield* proxy.stop
        if (server !== undefined) yield* server.stopAccepting
        yield* proxy.awaitIdle.pipe(
          Effect.timeoutOrElse({
            duration: Duration.seconds(drain_timeout_secs),
            orElse: () =>
              Effect.logWarning("drain limit reached, ending the streams that still run").pipe(
                Effect.annotateLogs({ streams: proxy.inFlight() }),
                Effect.andThen(proxy.abortAll),
                Effect.andThen(Effect.timeoutOption(proxy.awaitIdle, `${FLUSH_SECS} seconds`))
              )
          })
        )
        if (server !== undefined) yield* Effect.timeoutOption(server.awaitIdle, `${FLUSH_SECS} seconds`)
        yield* Effect.logInfo("drained")
      })
    )
  })
)
