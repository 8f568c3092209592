import { Context, Data, Effect, Option, Runtime, Schema } from "effect"
import { SidecarConfig } from "./SidecarConfig.ts"
import type { UsageBatch } from "./UsageJournal.ts"

/**
 * Why nothing can be delivered now. `error`: 5xx; `busy`: 408, 425, 429; `full`: the broker has no room; `misconfigured`: the
 * endpoint does not know us.
 */
export type BillingTrouble = "no_answer" | "timeout" | "busy" | "full" | "error" | "misconfigured"

/** A record that the service will never take, and its words. */
export interface RefusedRecord {
  readonly recordId: string
  readonly detail: string
}

/**
 * The billing service's answer to a batch.
 *
 * - `Accepted`: it has the records (2xx), or had them already (409).
 * - `Partly`: it answered for records one by one, by their `record_id`. Those in neither list are reported again, in a batch
 *   of their own. At least one list has a record.
 * - `Later`: nothing is wrong with the batch: no answer, 408, 429, 5xx, no room, or the endpoint does not know us (401, 403,
 *   404, 405, 407). `retryAfterMillis`: what it asked for. `remedy`: what the operator can do.
 * - `TooLarge`: 413.
 * - `Refused`: another 4xx: something in the batch is not acceptable.
 */
export type BillingVerdict = Data.TaggedEnum<{
  Accepted: { readonly duplicate: boolean }
  Partly: { readonly accepted: ReadonlyArray<string>; readonly refused: ReadonlyArray<RefusedRecord> }
  Later: {
    readonly reason: BillingTrouble
    readonly detail: string
    readonly retryAfterMillis: number | undefined
    readonly remedy?: string | undefined
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

/**
 * How the reporting is, for `/readyz`, the status page and logs; read synchronously.
 *
 * - `off`: nobody is reported to; `ok`: the last report was answered, or none was due yet;
 * - `since`: wall clock, milliseconds since the epoch; `remedy`: what the operator can do, if somebody knows.
 */
export type BillingState =
  | { readonly _tag: "off" }
  | { readonly _tag: "ok" }
  | {
    readonly _tag: "failing"
    readonly reason: BillingTrouble
    readonly detail: string
    readonly remedy: string | undefined
    readonly since: number
  }

/** How the reporting of usage is (see `layers/BillingReporter`). */
export class BillingCondition extends Context.Service<BillingCondition, {
  readonly condition: () => BillingState
  /** How long it has been so, by the monotonic clock. Milliseconds. */
  readonly elapsedMillis: () => number
}>()("cy-llm-sidecar/BillingCondition") {}

/** Where nobody reports. */
export const billingOff: BillingCondition["Service"] = { condition: () => ({ _tag: "off" }), elapsedMillis: () => 0 }

/** How the reporting is; `off` where nobody reports. */
export const billingCondition: Effect.Effect<BillingCondition["Service"]> = Effect.map(
  Effect.serviceOption(BillingCondition),
  Option.getOrElse(() => billingOff)
)

/**
 * The billing service cannot be reported to as configured: the daemon does not start. One line for people, with the key, its
 * value and the remedy, and without a word of a secret. Exit code 78.
 */
export class BillingError extends Schema.TaggedError<BillingError>()("BillingError", {
  /** Of `[metering]`. */
  key: Schema.String,
  value: Schema.String,
  detail: Schema.String
}) {
  override readonly [Runtime.errorExitCode] = 78
  override readonly [Runtime.errorReported] = false
  override get message(): string {
    return `[metering] ${this.key} = ${JSON.stringify(this.value)}: ${this.detail}`
  }
}
