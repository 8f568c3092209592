import { Context } from "effect"

/** What meter, journal and billing move. */
export class UsageMetrics extends Context.Service<UsageMetrics, {
  /** Records by state: `open`, `waiting`, `acknowledged`, `set_aside`, `merged`, `unsaved`. */
  readonly usageRecords: (state: string, count: number) => void
  /** Tokens by where they are: `open`, `delivered`, `waiting`, `acknowledged`, `set_aside` (the balance of docs/design.md §7). */
  readonly usageTokens: (state: string, count: number) => void
  /** Something a biller should look at in a stream that ended: `completion_tokens`, `prompt_tokens`, `large_chunk`. */
  readonly usageSuspect: (reason: string) => void
  readonly usageReport: (result: string) => void
  /** Age of the oldest record that waits, in seconds. */
  readonly usageLag: (seconds: number) => void
  readonly journalError: (operation: string) => void
}>()("cy-llm-sidecar/UsageMetrics") {}
