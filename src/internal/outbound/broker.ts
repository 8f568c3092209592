import { Data, type Effect, type Scope } from "effect"
import type { BillingTrouble } from "../../services/BillingSink.ts"

/** One message for a broker; the broker knows duplicates by `id`. */
export interface BrokerMessage {
  readonly id: string
  readonly contentType: string
  readonly payload: string
}

/** Nothing can be stored now, for no fault of a message. */
export class BrokerTrouble extends Data.TaggedError("BrokerTrouble")<{
  readonly reason: BillingTrouble
  readonly detail: string
  readonly remedy: string | undefined
}> {
  override get message(): string {
    return this.detail
  }
}

/** The broker will never take this message. */
export class BrokerRefusal extends Data.TaggedError("BrokerRefusal")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail
  }
}

/** PORT to a broker that stores messages and says so. The policy over it is the sink's. */
export interface Broker {
  /** A connection that is up and in which we are known: the one there is, or a new one. One caller at a time. */
  readonly session: Effect.Effect<BrokerSession, BrokerTrouble>
  /** The connection does not answer: the next session makes a new one. */
  readonly forget: Effect.Effect<void>
}

export interface BrokerSession {
  /** Completes when the message is stored; `duplicate`: it was stored before. May be called many times at once. */
  readonly publish: (
    message: BrokerMessage
  ) => Effect.Effect<{ readonly duplicate: boolean }, BrokerTrouble | BrokerRefusal>
}

/** How a broker is opened: it is closed with its scope. */
export type OpenBroker = Effect.Effect<Broker, never, Scope.Scope>
