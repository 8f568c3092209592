import { Context, Data, type Effect, type Stream } from "effect"
import type { LinkFault, WorkerLink } from "./WorkerChannel.ts"

/** Why there is no worker, as a stable word for logs, `/readyz` and `sidecar status`. */
export type DownReason =
  | LinkFault
  | "Unhealthy"
  | "HealthTimeout"
  | "HealthFailed"
  | "ReloadTooLong"
  | "Stopped"

/**
 * The worker's status (design: `Connecting → Connected ⇄ Reloading`, `Disconnected` from each).
 *
 * Its times are wall clock, milliseconds since the epoch, for people to read. A wall clock can be set: durations are
 * {@link WorkerConnection}'s `elapsedMillis` and `dueInMillis`, never a difference of these.
 *
 * - `since`: when it began.
 * - `Connected.saturatedSince`: since when the worker is *saturated*: it has no thread left to answer Health, and still
 *   shows signs of life, by frames or by its transport's acknowledgement. Absent when it is not.
 * - `Connected.renewing`: the worker has asked for a new connection (GOAWAY NO_ERROR) and the next one is not proved yet:
 *   new streams wait for it.
 * - `Reloading.restarting`: the worker has said goodbye and is not back yet. It is given the time of a hold to return;
 *   until then new streams are held as in a reload.
 * - `Disconnected.retryAt`: the next attempt, when one is scheduled.
 * - `Disconnected.remedy`: one sentence for the operator.
 * - `Reloading.until`: when the worker expects to be back, if it said so.
 */
export type WorkerState = Data.TaggedEnum<{
  Connecting: { readonly since: number; readonly attempt: number }
  Connected: {
    readonly since: number
    readonly saturatedSince?: number | undefined
    readonly renewing?: boolean | undefined
  }
  Reloading: { readonly since: number; readonly until: number | undefined; readonly restarting?: boolean | undefined }
  Disconnected: {
    readonly since: number
    readonly reason: DownReason
    readonly detail: string
    readonly remedy: string
    readonly attempt: number
    readonly retryAt: number | undefined
  }
}>
export const WorkerState = Data.taggedEnum<WorkerState>()

/** A worker's answer to a Health call, or our word that there is none. */
export interface WorkerHealth {
  readonly healthy: boolean
  readonly metrics: Readonly<Record<string, string>>
}

/**
 * The supervised link to the worker: one owner for dialling, probing, noticing and waiting.
 *
 * The synchronous members are for the path of a stream; everything else derives from `changes`.
 */
export class WorkerConnection extends Context.Service<WorkerConnection, {
  /** The status now. */
  readonly current: () => WorkerState
  /** The status now, then every change. */
  readonly changes: Stream.Stream<WorkerState>
  /** The link for new streams: only when Connected, and not while the connection is being renewed. */
  readonly link: () => WorkerLink | undefined
  /** Completes when Connected. */
  readonly awaitConnected: Effect.Effect<void>
  /**
   * Calls `listener` synchronously on every change of the status; returns the way to unsubscribe. For mechanisms that
   * must act in the same turn (fail-fast, release of held streams).
   */
  readonly onChange: (listener: (state: WorkerState) => void) => () => void
  /** The worker's own answer, from a probe shared by all who ask at once; `healthy: false` when there is no worker. */
  readonly health: Effect.Effect<WorkerHealth>
  /** The metrics of the last Health answer that came. */
  readonly lastHealth: () => WorkerHealth | undefined
  /** Milliseconds after which a refused gateway should come back: the reload's ETA or the reconnect schedule, jittered. */
  readonly retryAfterMillis: () => number
  /** Milliseconds for which the status has been what it is, by the monotonic clock. */
  readonly elapsedMillis: () => number
  /**
   * Milliseconds until a reloading worker means to be back, or until the next dial, by the monotonic clock: 0 when that
   * time has passed, `undefined` when nothing is known.
   */
  readonly dueInMillis: () => number | undefined
  /** The worker announces a reload: new streams are held from now on. `etaSeconds`: optional. */
  readonly announceReload: (etaSeconds: number | undefined) => Effect.Effect<void>
  /** The worker (or an operator) says that the reload is over: probed at once. */
  readonly announceReady: Effect.Effect<void>
  /** Drops the link and dials anew at once. */
  readonly reconnect: Effect.Effect<void>
  /** Called by the path of a stream when the link ended a call by a transport failure: probe now. */
  readonly suspect: () => void
}>()("cy-llm-sidecar/WorkerConnection") {}
