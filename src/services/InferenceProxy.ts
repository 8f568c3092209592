import { Context, type Effect } from "effect"
import type { RunningStream } from "./RunningStream.ts"
import type { StreamError } from "./StreamError.ts"
import type { ServerCall } from "./Wire.ts"

/**
 * What would become of a StreamPredict call that came now: sent on (or queued for a place at the worker), held until the
 * worker is back for so many milliseconds at most, or refused.
 */
export type Admission =
  | { readonly _tag: "Served" }
  | { readonly _tag: "Held"; readonly patienceMillis: number }
  | { readonly _tag: "Refused"; readonly error: () => StreamError }

/**
 * The path of a stream: admission, hold, queue, relay, replay, end, meter (docs/design.md §5–§7).
 */
export class InferenceProxy extends Context.Service<InferenceProxy, {
  /**
   * Carries one StreamPredict call to the worker and its answer back. Completes when the gateway's side has ended;
   * never fails: every end is a gRPC status. Interrupting it is the gateway's cancellation.
   */
  readonly predict: (call: ServerCall) => Effect.Effect<void>
  /** Carries a call of any other method, without metering, holding or peeking. */
  readonly passthrough: (call: ServerCall) => Effect.Effect<void>
  /** From now on new streams are refused with UNAVAILABLE; running ones go on. */
  readonly drain: Effect.Effect<void>
  /** Takes new streams again. */
  readonly undrain: Effect.Effect<void>
  readonly draining: () => boolean
  /** A drain for good: the sidecar is stopping, and {@link undrain} does nothing any more. */
  readonly stop: Effect.Effect<void>
  readonly stopping: () => boolean
  /**
   * Calls `listener` synchronously whenever {@link draining} changes; returns the way to unsubscribe. Health watches end
   * by it, since an open one would hold up the drain.
   */
  readonly onDraining: (listener: (draining: boolean) => void) => () => void
  /** Decided from the same facts as the admission of a stream. */
  readonly admission: () => Admission
  /** `[health] ready_when`: whether gateways should send streams here, by {@link admission}. */
  readonly ready: () => boolean
  /** Calls `listener` synchronously whenever {@link ready} changes; returns the way to unsubscribe. */
  readonly onReady: (listener: () => void) => () => void
  /** Streams in flight, also those that are held. */
  readonly inFlight: () => number
  /** The streams that are under way, each as it is now. */
  readonly running: () => ReadonlyArray<RunningStream>
  /** Ends one of {@link running} with ABORTED, `cy-reason: killed`. `false`: there is none with this id. */
  readonly kill: (id: string) => boolean
  /** Completes when no stream is in flight. */
  readonly awaitIdle: Effect.Effect<void>
  /** Ends every stream that still runs with UNAVAILABLE, `cy-reason: draining`. */
  readonly abortAll: Effect.Effect<void>
}>()("cy-llm-sidecar/InferenceProxy") {}
