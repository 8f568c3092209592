import { Context } from "effect"

/** A call's part of the budget. */
export interface BudgetShare {
  /** The call's message that is not whole has so many bytes now; 0: it is whole, or the call is over. */
  readonly hold: (bytes: number) => void
  /** Whether the call may read on. After `false` the holder's `onRoom` is called when it may. */
  readonly mayRead: () => boolean
}

/** The call that has a share. */
export interface BudgetHolder {
  /** There is room again. May be called from within another call's `hold`. */
  onRoom(): void
  /** Its message takes too long while others wait for room: the call has to end. */
  onOverdue(): void
}

/**
 * The memory for messages that have begun and are not whole, over all calls and in both directions (`[server]
 * max_unfinished_bytes`). A reference: without a layer (`layers/UnfinishedBudget`) there is no bound.
 */
export const MessageBudget = Context.Reference<{
  /** The share of one call. */
  readonly share: (holder: BudgetHolder) => BudgetShare
}>("cy-llm-sidecar/MessageBudget", {
  defaultValue: () => ({ share: () => ({ hold: () => undefined, mayRead: () => true }) })
})
export type MessageBudget = typeof MessageBudget.Service
