import { Clock, Effect, Layer, Logger, LogLevel, References, type Scope } from "effect"
import { jsonLine, type LogEntry, logEntry, prettyLine } from "../internal/ops/logLine.ts"
import { LogLines, type LogLinesWriter } from "../services/LogLines.ts"
import { LogThreshold } from "../services/LogThreshold.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"

/** Where lines go: `process.stdout`, or a test's own. */
export interface LogStream {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  /** What was written and not yet taken, about as many bytes; none: it is never asked to wait. */
  readonly writableLength?: number | undefined
  on?(event: "error", listener: () => void): unknown
  off?(event: "error", listener: () => void): unknown
}

type Level = Settings["observability"]["log_level"]

/** How to log. */
export interface LoggingOptions {
  /** One level for good, or what says the one of the moment. Default: `"info"`. */
  readonly level?: Level | (() => Level) | undefined
  /** Default: `"pretty"` when the stream is a terminal, else `"json"`. */
  readonly format?: Settings["observability"]["log_format"] | undefined
  /** Default: `process.stdout`. */
  readonly stream?: LogStream | undefined
  /** Colours in the pretty format. Default: when the stream is a terminal and `NO_COLOR` is not set. */
  readonly color?: boolean | undefined
}

const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error" } as const

const urgent: ReadonlySet<string> = new Set(["Warn", "Error", "Fatal"])

const ignore = (): void => {}

/** Writes a line; `now`: at once, with all that waits. */
type Write = (line: string, now: boolean) => void

/** Characters that may wait for the end of the turn. */
const maxPending = 65_536
/** Bytes that may wait for a reader that does not read; what comes then is lost. Warnings and errors have as much again. */
const maxUntaken = 1024 * 1024

/**
 * Lines of one turn of the event loop leave in one write: an access log must not cost a system call per stream. A
 * warning leaves at once, and so does everything that waits when the scope or the process ends. A stream that fails
 * (whoever read our log is gone) loses lines, it does not end the daemon; nor does one that is not read (a shipper that
 * hangs) make it grow: lines are lost, and `lostLine` says how many, in front of the next one that is written.
 */
const makeWriter = Effect.fnUntraced(function*(
  stream: LogStream,
  lostLine: (lines: number) => string
): Effect.fn.Return<Write, never, Scope.Scope> {
  let pending = ""
  let scheduled: NodeJS.Immediate | undefined
  let lost = 0
  const flush = (): void => {
    clearImmediate(scheduled)
    scheduled = undefined
    const text = pending
    pending = ""
    if (text !== "") stream.write(text)
  }
  const hasRoom = (now: boolean): boolean => (stream.writableLength ?? 0) < (now ? 2 * maxUntaken : maxUntaken)
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      // Once for each stream, and for its whole life: the last write may fail after our scope has closed.
      stream.off?.("error", ignore)
      stream.on?.("error", ignore)
      process.on("exit", flush)
    }),
    () =>
      Effect.sync(() => {
        flush()
        process.off("exit", flush)
      })
  )
  return (line, now) => {
    if (!hasRoom(now)) {
      lost++
      return
    }
    if (lost > 0) {
      pending += lostLine(lost) + "\n"
      lost = 0
    }
    pending += line + "\n"
    if (now || pending.length > maxPending) flush()
    else scheduled ??= setImmediate(flush)
  }
})

/** The logger and the level of {@link LoggingOptions}; replaces every other logger. */
export const layerWith = (options?: LoggingOptions): Layer.Layer<never> => {
  const stream: LogStream = options?.stream ?? process.stdout
  const terminal = stream.isTTY === true
  const color = options?.color ?? (terminal && process.env["NO_COLOR"] === undefined)
  const pretty = (options?.format ?? (terminal ? "pretty" : "json")) === "pretty"
  const level = options?.level ?? "info"
  const threshold = typeof level === "string" ? undefined : () => levels[level()]
  const minimum = typeof level === "string" ? levels[level] : "Trace"
  const isBelow = (level: LogLevel.LogLevel): boolean => LogLevel.isGreaterThan(threshold?.() ?? minimum, level)
  const spell = (entry: LogEntry): string => pretty ? prettyLine(entry, color) : jsonLine(entry)
  const makeLogger = (write: Write) =>
    Logger.make<unknown, void>(({ cause, date, fiber, logLevel, message }) => {
      if (threshold !== undefined && isBelow(logLevel)) return
      const entry = logEntry({
        time: date,
        level: logLevel,
        message,
        annotations: fiber.getRef(References.CurrentLogAnnotations),
        spans: fiber.getRef(References.CurrentLogSpans),
        cause
      })
      write(spell(entry), urgent.has(logLevel))
    })
  /** Many lines are of one moment: what begins them is spelt once. */
  const heads = { at: Number.NaN, level: "", message: "", text: "" }
  const headOf = (at: number, level: LogLevel.Severity, message: string): string => {
    if (heads.at !== at || heads.level !== level || heads.message !== message) {
      const head = { time: new Date(at).toISOString(), level: level.toLowerCase(), msg: message }
      Object.assign(heads, { at, level, message, text: JSON.stringify(head).slice(0, -1) })
    }
    return heads.text
  }
  const makeLines = (write: Write): LogLinesWriter => ({
    add: (at, level, message, fields) => {
      if (isBelow(level)) return
      if (!pretty) {
        const rest = JSON.stringify(fields).slice(1)
        return write(`${headOf(at, level, message)}${rest === "}" ? "" : ","}${rest}`, false)
      }
      const time = new Date(at)
      const known = Object.entries(fields).filter(([, value]) => value !== null && value !== "")
      write(prettyLine({ time, level, message, fields: known, stack: undefined }, color), false)
    }
  })
  return Layer.unwrap(Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const lostLine = (lines: number): string =>
      spell({
        time: new Date(clock.currentTimeMillisUnsafe()),
        level: "Warn",
        message: "lines of the log are lost: whoever reads it does not keep up",
        fields: [["lines", lines]],
        stack: undefined
      })
    const write = yield* makeWriter(stream, lostLine)
    return Layer.mergeAll(
      Logger.layer([makeLogger(write), Logger.tracerLogger]),
      // A level that may change is looked up when a line comes.
      Layer.succeed(References.MinimumLogLevel, minimum),
      Layer.succeed(LogThreshold, threshold),
      Layer.succeed(LogLines, makeLines(write))
    )
  }))
}

/** Logs as `log_level`, which may change, and `log_format` say; `options` go before them. */
export const layerConfigured = (
  options?: Pick<LoggingOptions, "stream" | "color">
): Layer.Layer<never, never, SidecarConfig> =>
  Layer.unwrap(
    Effect.map(SidecarConfig, ({ observability }) =>
      layerWith({
        ...options,
        level: () => observability.log_level,
        format: observability.log_format
      }))
  )

/** {@link layerConfigured} on stdout. */
export const layer: Layer.Layer<never, never, SidecarConfig> = layerConfigured()
