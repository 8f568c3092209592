import type { StreamMetrics } from "../../services/StreamMetrics.ts"
import type { UsageEnd } from "../../services/UsageMeter.ts"
import type { Status } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import type { WorkerConnection } from "../../services/WorkerConnection.ts"
import type { PeekOptions } from "./peek.ts"
import type { PlaceQueue } from "./placeQueue.ts"
import type { RequestBytes } from "./requestBytes.ts"
import type { StreamLimits } from "./streamLimits.ts"
import type { WaitingRoom } from "./waitingRoom.ts"
import type { Watchdog } from "./watchdog.ts"

/** How an opening at the worker went, for the circuit breaker. */
export type Opening = "succeeded" | "failed" | "ignored"

/** What all streams share. Times are milliseconds. */
export interface StreamEnv extends StreamLimits {
  readonly watchdog: Watchdog
  readonly room: WaitingRoom
  readonly places: PlaceQueue
  readonly connection: WorkerConnection["Service"]
  readonly metrics: StreamMetrics["Service"]
  readonly peek: PeekOptions
  readonly onOpening: (opening: Opening, link: WorkerLink | undefined) => void
  readonly requestBytes: RequestBytes
}

/** How a stream is over: what the gateway is told and what is metered. */
export interface StreamEnd extends UsageEnd {
  readonly status: Status
  readonly delivery: "flush" | "now"
  /** Monotonic milliseconds at which it was decided. */
  readonly at: number
}
