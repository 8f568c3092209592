import { Context } from "effect"
import type { WorkerState } from "./WorkerConnection.ts"

/** What the supervisor of the worker's connection moves. */
export class WorkerMetrics extends Context.Service<WorkerMetrics, {
  readonly workerState: (state: WorkerState) => void
  readonly workerConnectionError: (fault: string) => void
  readonly workerReconnected: () => void
  readonly workerSaturated: () => void
  /** The worker has answered Health with these metrics of its own. */
  readonly workerHealth: (metrics: Readonly<Record<string, string>>) => void
}>()("cy-llm-sidecar/WorkerMetrics") {}
