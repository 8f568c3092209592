import { Clock, Effect, Layer, LogLevel, Random, References } from "effect"
import { ACCESS_MESSAGE, accessFields, isOrdinary } from "../internal/ops/accessLine.ts"
import { LogLines } from "../services/LogLines.ts"
import { LogThreshold } from "../services/LogThreshold.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"
import { type StreamReport, StreamReports } from "../services/StreamReports.ts"

/** Lines that are spelt in one turn of the event loop: two microseconds each. */
const AT_ONCE = 1000
/** Ends that may wait for it. Beyond them they are spelt at once. */
const MOST_WAITING = 10_000

const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error" } as const

/** An end and its moment on the wall clock. */
interface Ended {
  readonly at: number
  readonly level: LogLevel.Severity
  readonly report: StreamReport
}

/**
 * One line for each stream and each refusal when it is over (`[observability] access_log_level`, `access_log_sample`). Where
 * there are `LogLines` the end of a stream costs a place in a list; the words are put together between two turns.
 */
export const layer: Layer.Layer<never, never, SidecarConfig | StreamReports> = Layer.effectDiscard(
  Effect.gen(function*() {
    const { observability } = yield* SidecarConfig
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const direct = yield* LogLines
    const threshold = yield* LogThreshold
    const fixed = yield* References.MinimumLogLevel
    const run = Effect.runForkWith(yield* Effect.context<never>())
    let waiting: Array<Ended> = []
    let scheduled: NodeJS.Immediate | undefined

    /** The level of its line; `undefined`: it has none. */
    const levelOf = (
      report: StreamReport,
      { access_log_level, access_log_sample }: Settings["observability"]
    ): LogLevel.Severity | undefined => {
      if (access_log_level === "off") return undefined
      const level = isOrdinary(report) ? levels[access_log_level] : "Info"
      if (LogLevel.isGreaterThan(threshold?.() ?? fixed, level)) return undefined
      return access_log_sample >= 1 || !isOrdinary(report) || random.nextDoubleUnsafe() < access_log_sample
        ? level
        : undefined
    }

    const spell = (most: number): void => {
      scheduled = undefined
      const now = waiting.length <= most ? waiting : waiting.slice(0, most)
      waiting = waiting.length <= most ? [] : waiting.slice(most)
      for (const { at, level, report } of now) direct?.add(at, level, ACCESS_MESSAGE, accessFields(report))
      if (waiting.length > 0) scheduled = setImmediate(spell, AT_ONCE)
    }
    const flush = (): void => {
      clearImmediate(scheduled)
      spell(Number.POSITIVE_INFINITY)
    }
    yield* Effect.addFinalizer(() => Effect.sync(flush))

    yield* (yield* StreamReports).subscribe((report) => {
      const level = levelOf(report, observability)
      if (level === undefined) return
      if (direct === undefined) {
        run(Effect.logWithLevel(level)(ACCESS_MESSAGE).pipe(Effect.annotateLogs(accessFields(report))))
        return
      }
      waiting.push({ at: clock.currentTimeMillisUnsafe(), level, report })
      if (waiting.length > MOST_WAITING) flush()
      else scheduled ??= setImmediate(spell, AT_ONCE)
    })
  })
)
