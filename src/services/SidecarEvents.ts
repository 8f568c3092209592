import { Context, Data, Effect, Option, type Stream } from "effect"
import type { PastEvent } from "./PastEvent.ts"
import type { UsageRecord } from "./UsageRecord.ts"
import type { WorkerState } from "./WorkerConnection.ts"

/**
 * What happens in a sidecar.
 *
 * - `StreamEnded`: an admitted stream is over and its record is committed (or waits in memory, while the journal is failing);
 * - `WorkerChanged`: the worker's status;
 * - `ReloadBegan`, `ReloadEnded`: the worker replaces its model; `until`: wall clock at which it expects to be back, if it
 *   said so; `connected`: whether it came back;
 * - `Refused`: a stream was turned away; `reason`: its `cy-reason`;
 * - `LimitReached`: a bound of what a peer may take, at most once a minute for each; `times`: how often since it was told last;
 * - `BillingChanged`: the billing service takes no reports, takes them again, or has refused a record for good;
 * - `JournalChanged`: usage cannot be written (or read), or can be again;
 * - `DrainChanged`: new streams are refused from now on, or taken again;
 * - `ConfigReloaded`: file and environment were read again; the keys that changed, and those that need a restart to;
 * - `ConfigRejected`: they were, and there are mistakes in them: nothing changed;
 * - `Lost`: this subscriber was too slow, and so many events before the next one are lost to it.
 */
export type SidecarEvent = Data.TaggedEnum<{
  StreamEnded: { readonly record: UsageRecord }
  WorkerChanged: { readonly state: WorkerState }
  ReloadBegan: { readonly until: number | undefined }
  ReloadEnded: { readonly millis: number; readonly connected: boolean }
  Refused: { readonly reason: string }
  LimitReached: { readonly limit: string; readonly detail: string; readonly times: number }
  BillingChanged: { readonly status: "failing" | "accepted" | "set_aside"; readonly detail: string }
  JournalChanged: { readonly status: "failing" | "ok"; readonly reason: string | undefined; readonly detail: string }
  DrainChanged: { readonly draining: boolean }
  ConfigReloaded: { readonly changed: ReadonlyArray<string>; readonly needRestart: ReadonlyArray<string> }
  ConfigRejected: { readonly detail: string }
  Lost: { readonly count: number }
}>
export const SidecarEvent = Data.taggedEnum<SidecarEvent>()

/**
 * The events of one sidecar, for audit logs, dashboards and alarms. Those of single streams cost nothing while nobody
 * listens.
 *
 * Implementation: `layers/BoundedEvents`.
 */
export class SidecarEvents extends Context.Service<SidecarEvents, {
  /**
   * The events from the subscription on. At most 1024 wait for a subscriber; one that is slower loses the oldest ones, and
   * is told how many.
   */
  readonly events: Stream.Stream<SidecarEvent>
  /** The last hundred that an operator should know of, the oldest first; ends of single streams are none. */
  readonly history: () => ReadonlyArray<PastEvent>
  /** Whether somebody listens: what makes an event of each stream may ask before it makes one. */
  readonly isListenedTo: () => boolean
  /** Tells all subscribers; synchronous. */
  readonly tell: (event: SidecarEvent) => void
}>()("cy-llm-sidecar/SidecarEvents") {}

/** Tells where there are `SidecarEvents`; elsewhere nobody hears of it. */
export const eventTeller: Effect.Effect<(event: SidecarEvent) => void> = Effect.map(
  Effect.serviceOption(SidecarEvents),
  Option.match({ onNone: () => () => undefined, onSome: ({ tell }) => tell })
)
