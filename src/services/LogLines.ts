import { Context, type LogLevel } from "effect"

/** Fields of a line beside time, level and message, in their order. */
export type LogFields = Readonly<Record<string, string | number | null>>

/**
 * A way into the log that costs no fiber and no annotations, for lines that are written for each stream. `at`: wall clock,
 * milliseconds since the epoch. Lines below the level of the log are dropped.
 *
 * `layers/Logging` provides it; without it such lines go the ordinary way.
 */
export interface LogLinesWriter {
  readonly add: (at: number, level: LogLevel.Severity, message: string, fields: LogFields) => void
}

export const LogLines = Context.Reference<LogLinesWriter | undefined>("cy-llm-sidecar/LogLines", {
  defaultValue: () => undefined
})
