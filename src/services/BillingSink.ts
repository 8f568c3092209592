import { Context, Data, Effect, Option } from "effect"
import { SidecarConfig } from "./SidecarConfig.ts"
import type { UsageBatch } from "./UsageJournal.ts"

/**
 * The billing service's answer to a batch.
 *
 * - `Accepted`: it has the records (2xx), or had them already (409).
 * - `Later`: nothing is wrong with the batch: no answer, 408, 429, 5xx, or the endpoint does not know us (401, 403,
 *   404, 405, 407). `retryAfterMillis`: what it asked for.
 * - `TooLarge`: 413.
 * - `Refused`: another 4xx: something in the batch is not acceptable.
 */
export type BillingVerdict = Data.TaggedEnum<{
  Accepted: { readonly duplicate: boolean }
  Later: {
    /** `error`: 5xx; `busy`: 408, 425, 429; `misconfigured`: the endpoint does not know us. */
    readonly reason: "no_answer" | "timeout" | "busy" | "error" | "misconfigured"
    readonly detail: string
    readonly retryAfterMillis: number | undefined
  }
  TooLarge: {}
  Refused: { readonly detail: string }
}>
export const BillingVerdict = Data.taggedEnum<BillingVerdict>()

/** PORT to the billing service: one attempt to deliver one batch. Never fails: silence is a verdict too. */
export class BillingSink extends Context.Service<BillingSink, {
  readonly send: (batch: UsageBatch) => Effect.Effect<BillingVerdict>
}>()("cy-llm-sidecar/BillingSink") {}

/** Whether somebody bills: the application's own {@link BillingSink}, or the service at `[metering] billing_endpoint`. */
export const isBilled: Effect.Effect<boolean, never, SidecarConfig> = Effect.gen(function*() {
  const own = yield* Effect.serviceOption(BillingSink)
  return Option.isSome(own) || (yield* SidecarConfig).metering.billing_endpoint !== undefined
})
