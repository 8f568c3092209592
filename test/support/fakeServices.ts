import { Effect, Layer, Schema, Stream } from "effect"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import { CallMetrics } from "../../src/services/CallMetrics.ts"
import { InferenceProxy } from "../../src/services/InferenceProxy.ts"
import { Metrics, type Recorders } from "../../src/services/Metrics.ts"
import { Settings, SidecarConfig } from "../../src/services/SidecarConfig.ts"
import * as Status from "../../src/services/Status.ts"
import type { FrameBatch, ServerCall } from "../../src/services/Wire.ts"
import { WorkerConnection, type WorkerHealth, WorkerState } from "../../src/services/WorkerConnection.ts"

/** The settings with all defaults, or with some sections' keys replaced. */
export const settings = (changes: { readonly [section: string]: Readonly<Record<string, unknown>> } = {}): Settings =>
  Schema.decodeSync(Settings)({
    server: {},
    health: {},
    reload: {},
    circuit_breaker: {},
    metering: {},
    observability: {},
    ...changes
  })

export const disconnected: WorkerState = WorkerState.Disconnected({
  since: 1000,
  reason: "SocketMissing",
  detail: "/run/secret/worker.sock does not exist",
  remedy: "start the worker",
  attempt: 3,
  retryAt: 6000
})

/** Everything around the routes, in memory: told by a test what to be, and observed. */
export class World {
  state: WorkerState = WorkerState.Connected({ since: 500 })
  health: Effect.Effect<WorkerHealth> = Effect.succeed({ healthy: true, metrics: { backend: "fake" } })
  lastHealth: WorkerHealth | undefined
  draining = false
  figures: Record<string, number> = {
    sidecar_tokens_processed_total: 7,
    sidecar_streams_held: 2,
    process_cpu_seconds_total: 1
  }
  readonly actions: Array<string> = []
  readonly handled: Array<string> = []
  /** Calls carried to the worker: the path, and the request frames as they came. */
  readonly carried: Array<{ readonly kind: string; readonly call: ServerCall; readonly frames: Array<FrameBatch> }> = []
  readonly #stateListeners = new Set<(state: WorkerState) => void>()
  readonly #drainListeners = new Set<(draining: boolean) => void>()

  /** Listeners that are attached now. */
  get listeners(): number {
    return this.#stateListeners.size + this.#drainListeners.size
  }

  become(state: WorkerState): void {
    this.state = state
    for (const listener of this.#stateListeners) listener(state)
  }

  drain(draining: boolean): void {
    this.draining = draining
    for (const listener of this.#drainListeners) listener(draining)
  }

  #act(action: string): Effect.Effect<void> {
    return Effect.sync(() => {
      this.actions.push(action)
    })
  }

  /** Takes a call as the proxy does, and answers OK at its half-close. */
  #carry(kind: string) {
    return (call: ServerCall): Effect.Effect<void> =>
      Effect.suspend(() => {
        const frames: Array<FrameBatch> = []
        this.carried.push({ kind, call, frames })
        const next: Effect.Effect<void> = Effect.matchEffect(call.requests, {
          onSuccess: ([batch]) => {
            frames.push(batch)
            return next
          },
          onFailure: () => Effect.sync(() => call.end(Status.ok))
        })
        return next
      })
  }

  layer(
    config: Settings = settings()
  ): Layer.Layer<InferenceProxy | Metrics | Recorders | SidecarConfig | WorkerConnection> {
    return Layer.mergeAll(
      Layer.succeed(SidecarConfig, config),
      Layer.succeed(WorkerConnection, {
        current: () => this.state,
        changes: Stream.empty,
        link: () => undefined,
        awaitConnected: Effect.never,
        onChange: (listener) => {
          this.#stateListeners.add(listener)
          return () => void this.#stateListeners.delete(listener)
        },
        health: Effect.suspend(() => this.health),
        lastHealth: () => this.lastHealth,
        retryAfterMillis: () => 2000,
        elapsedMillis: () => 1000,
        dueInMillis: () => undefined,
        announceReload: (eta) => this.#act(`reload ${eta}`),
        announceReady: this.#act("ready"),
        reconnect: this.#act("reconnect"),
        suspect: () => {}
      }),
      Layer.succeed(InferenceProxy, {
        predict: this.#carry("predict"),
        passthrough: this.#carry("passthrough"),
        drain: this.#act("drain"),
        undrain: this.#act("undrain"),
        stop: this.#act("stop"),
        stopping: () => false,
        draining: () => this.draining,
        onDraining: (listener) => {
          this.#drainListeners.add(listener)
          return () => void this.#drainListeners.delete(listener)
        },
        admission: () =>
          this.state._tag === "Connected" ? { _tag: "Served" } : { _tag: "Held", patienceMillis: 30_000 },
        ready: () => this.state._tag === "Connected" && !this.draining,
        onReady: (listener) => {
          const heard = () => listener()
          this.#stateListeners.add(heard)
          return () => void this.#stateListeners.delete(heard)
        },
        inFlight: () => 4,
        running: () => [],
        kill: () => false,
        awaitIdle: Effect.void,
        abortAll: Effect.void
      }),
      Layer.merge(
        Layer.effect(
          Metrics,
          Metrics.useSync((metrics) => ({ ...metrics, figures: Effect.sync(() => this.figures) }))
        ),
        Layer.effect(
          CallMetrics,
          CallMetrics.useSync((calls) => ({
            ...calls,
            handled: (method: string, code: number) => void this.handled.push(`${method} ${code}`)
          }))
        )
      ).pipe(Layer.provideMerge(PromMetrics.layer))
    )
  }
}
