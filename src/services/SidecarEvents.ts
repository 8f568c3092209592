import { Context, Data, type Stream } from "effect"
import type { UsageRecord } from "./UsageRecord.ts"
import type { WorkerState } from "./WorkerConnection.ts"

/**
 * What happens in a sidecar.
 *
 * - `StreamEnded`: an admitted stream is over and its record is committed (or waits in memory, while the journal is failing);
 * - `WorkerChanged`: the worker's status;
 * - `ReloadBegan`, `ReloadEnded`: the worker replaces its model; `until`: wall clock at which it expects to be back, if it
 *   said so; `connected`: whether it came back;
 * - `Lost`: this subscriber was too slow, and so many events before the next one are lost to it.
 */
export type SidecarEvent = Data.TaggedEnum<{
  StreamEnded: { readonly record: UsageRecord }
  WorkerChanged: { readonly state: WorkerState }
  ReloadBegan: { readonly until: number | undefined }
  ReloadEnded: { readonly millis: number; readonly connected: boolean }
  Lost: { readonly count: number }
}>
export const SidecarEvent = Data.taggedEnum<SidecarEvent>()

/**
 * The events of one sidecar, for audit logs, dashboards and alarms. Costs nothing while nobody listens.
 *
 * Implementation: `layers/BoundedEvents`.
 */
export class SidecarEvents extends Context.Service<SidecarEvents, {
  /**
   * The events from the subscription on. At most 1024 wait for a subscriber; one that is slower loses the oldest ones, and
   * is told how many.
   */
  readonly events: Stream.Stream<SidecarEvent>
  /** Whether somebody listens: what makes an event may ask before it makes one. */
  readonly isListenedTo: () => boolean
  /** Tells all subscribers; synchronous. */
  readonly tell: (event: SidecarEvent) => void
}>()("cy-llm-sidecar/SidecarEvents") {}
