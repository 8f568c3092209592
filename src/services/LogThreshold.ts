import { Context, type LogLevel } from "effect"

/**
 * The least severe level that is written now, where that may change while the program runs: Effect's own
 * `References.MinimumLogLevel` stays with a fiber as long as it lives. `undefined`: that one decides.
 *
 * `layers/Logging` provides it.
 */
export const LogThreshold = Context.Reference<(() => LogLevel.LogLevel) | undefined>("cy-llm-sidecar/LogThreshold", {
  defaultValue: () => undefined
})
