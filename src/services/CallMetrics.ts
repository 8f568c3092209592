import { Context } from "effect"

/**
 * Calls beside the streams at the worker: `own` ones are answered by the sidecar itself, `carried` ones are those of a
 * method that it gives no meaning, `silent` ones have not sent a whole message yet.
 */
export type CallKind = "own" | "carried" | "silent"

/** What is moved by calls of any method, streams among them. */
export class CallMetrics extends Context.Service<CallMetrics, {
  /** One gRPC call of any method is over. */
  readonly handled: (method: string, code: number) => void
  /** Calls of a kind that are open now. */
  readonly openCalls: (kind: CallKind, count: number) => void
  /** The sidecar turned a call away, with this `cy-reason` (docs/gateways.md). */
  readonly refused: (reason: string) => void
  readonly metadataRejected: () => void
}>()("cy-llm-sidecar/CallMetrics") {}
