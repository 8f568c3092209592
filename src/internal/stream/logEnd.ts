import { Effect } from "effect"
import { isLogged } from "../../services/LogThreshold.ts"
import { tokensOf } from "../../services/UsageMeter.ts"
import type { ProxiedStream } from "./proxiedStream.ts"

/** What an operator should see of a stream's end; ordinary ends are for debugging only. Looks when it runs. */
export const logEnd = (stream: ProxiedStream): Effect.Effect<void> =>
  Effect.suspend(() => {
    const end = stream.end
    if (end === undefined) return Effect.void
    const quiet = end.outcome === "completed" || end.outcome === "cancelled" || end.outcome === "refused"
    // Nobody reads it: then its words are not put together either, for each stream.
    return Effect.flatMap(isLogged(quiet ? "Debug" : "Info"), (read) => {
      if (!read) return Effect.void
      return (quiet ? Effect.logDebug("stream ended") : Effect.logInfo("stream ended")).pipe(
        Effect.annotateLogs({
          outcome: end.outcome,
          grpc_status: end.grpcStatus,
          tokens: tokensOf(stream.tally),
          model_id: stream.tally.identity?.modelId ?? "",
          trace_id: stream.tally.identity?.traceId ?? "",
          record_id: stream.tally.recordId
        })
      )
    })
  })
