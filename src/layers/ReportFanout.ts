import { Effect, Layer } from "effect"
import { CallMetrics } from "../services/CallMetrics.ts"
import { StreamMetrics } from "../services/StreamMetrics.ts"
import { type StreamReport, StreamReports } from "../services/StreamReports.ts"

/** Turned away by the sidecar, or by its server for what is wrong with the request itself. */
const isRefusal = ({ outcome, reason, recordId }: StreamReport): boolean =>
  outcome === "refused" || (recordId === undefined && outcome === "failed" && reason !== "")

/** Feeds the metrics of ends, then whoever subscribes, in the order of their subscription. */
export const layer: Layer.Layer<StreamReports, never, CallMetrics | StreamMetrics> = Layer.effect(
  StreamReports,
  Effect.gen(function*() {
    const calls = yield* CallMetrics
    const streams = yield* StreamMetrics
    const listeners = new Set<(report: StreamReport) => void>()
    return StreamReports.of({
      tell: (report) => {
        streams.streamEnded(report.outcome, report.durationMillis / 1000, report.exportedTraceId ?? report.traceId)
        calls.handled(report.path, report.code)
        if (isRefusal(report)) calls.refused(report.reason)
        for (const listener of listeners) listener(report)
      },
      subscribe: (listener) =>
        Effect.acquireRelease(
          Effect.sync(() => void listeners.add(listener)),
          () => Effect.sync(() => void listeners.delete(listener))
        )
    })
  })
)
