import { Context, Effect, LogLevel, References } from "effect"

/**
 * The least severe level that is written now, where that may change while the program runs: Effect's own
 * `References.MinimumLogLevel` stays with a fiber as long as it lives. `undefined`: that one decides.
 *
 * `layers/Logging` provides it.
 */
export const LogThreshold = Context.Reference<(() => LogLevel.LogLevel) | undefined>("cy-llm-sidecar/LogThreshold", {
  defaultValue: () => undefined
})

/** Whether a line of `level` would be written: for words that are put together for each stream. */
export const isLogged = (level: LogLevel.LogLevel): Effect.Effect<boolean> =>
  Effect.withFiber((fiber) => {
    const threshold = fiber.getRef(LogThreshold)?.() ?? fiber.getRef(References.MinimumLogLevel)
    return Effect.succeed(!LogLevel.isGreaterThan(threshold, level))
  })
