import { Context, type Effect } from "effect"
import type { Outcome } from "./UsageRecord.ts"
import type { UsageTally } from "./UsageTally.ts"

export { mostTokens, noReplies, type ReplyCounts, tokensOf, tokenSourceOf, type UsageTally } from "./UsageTally.ts"

/** How a metered stream ended. */
export interface UsageEnd {
  readonly outcome: Outcome
  readonly grpcStatus: number
}

/**
 * One usage record for each admitted stream. `open` and the tally are synchronous and never wait for a disk; `close`
 * completes when the end is committed, or when the journal cannot be written (then the count waits in memory).
 */
export class UsageMeter extends Context.Service<UsageMeter, {
  readonly open: () => UsageTally
  readonly close: (tally: UsageTally, end: UsageEnd) => Effect.Effect<void>
}>()("cy-llm-sidecar/UsageMeter") {}
