import { Effect, Layer } from "effect"
import { UnfinishedBytes } from "../internal/wire/unfinishedBytes.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { Limits } from "../services/Limits.ts"
import { MessageBudget } from "../services/MessageBudget.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"

/** How often overdue messages are looked for. */
const LOOK_MILLIS = 1000

/** One budget for both sides of the wire. */
export const layer: Layer.Layer<never, never, LimitMetrics | SidecarConfig> = Layer.effect(
  MessageBudget,
  Effect.gen(function*() {
    const { server } = yield* SidecarConfig
    const metrics = yield* LimitMetrics
    const limits = yield* Limits
    const unfinished = new UnfinishedBytes({
      get limit() {
        return server.max_unfinished_bytes
      },
      onBytes: metrics.unfinishedBytes,
      onFull: () =>
        limits.reached(
          "unfinished_bytes",
          () =>
            `messages that have begun and are not whole take more than ${server.max_unfinished_bytes} bytes ([server] ` +
            "max_unfinished_bytes): their senders wait"
        )
    })
    const patience = () => Math.ceil(server.first_message_timeout_secs * 1000 / LOOK_MILLIS)
    yield* Effect.sleep(LOOK_MILLIS).pipe(
      Effect.andThen(Effect.sync(() => unfinished.look(patience()))),
      Effect.forever,
      Effect.forkScoped
    )
    return { share: (holder) => unfinished.share(holder) }
  })
)
