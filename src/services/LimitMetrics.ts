import { Context } from "effect"
import type { LimitName } from "./Limits.ts"

/** What the bounds of what a peer may take move. */
export class LimitMetrics extends Context.Service<LimitMetrics, {
  /** A bound of what a peer may take was reached (`services/Limits`). */
  readonly limitReached: (limit: LimitName) => void
  /** Bytes of messages that have begun and are not whole, over all calls, in both directions. */
  readonly unfinishedBytes: (bytes: number) => void
  /** The bounds that are in force, by the names of their keys; instead of those before. */
  readonly limits: (limits: Readonly<Record<string, number>>) => void
  /** A limit of the operators' port has bitten: `connections` or `pipelined`. */
  readonly opsLimited: (limit: string) => void
}>()("cy-llm-sidecar/LimitMetrics") {}
