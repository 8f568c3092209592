import type { RunningStream } from "../../services/RunningStream.ts"
import type { UsageTally } from "../../services/UsageMeter.ts"
import type { ServerCall } from "../../services/Wire.ts"
import { deadlineOf } from "./deadline.ts"

/** A stream as whoever looks at it sees it; `now`: monotonic milliseconds. */
export const describe = (
  { call, state, tally }: {
    readonly call: ServerCall
    readonly state: RunningStream["state"]
    readonly tally: UsageTally
  },
  now: number
): RunningStream => {
  const deadlineAt = deadlineOf(call)
  return {
    id: tally.recordId,
    traceId: tally.identity?.traceId ?? "",
    model: tally.identity?.modelId ?? "",
    tenant: tally.identity?.tenant ?? "",
    peer: call.peer.address,
    state,
    ageMillis: now - call.arrivedAt,
    tokens: tally.chunks,
    deadlineInMillis: Number.isFinite(deadlineAt) ? deadlineAt - now : undefined
  }
}
