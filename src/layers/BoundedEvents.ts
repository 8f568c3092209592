import { Clock, Effect, Layer, Stream } from "effect"
import { monotonicMillis } from "../internal/monotonic.ts"
import { EventHistory } from "../internal/ops/eventHistory.ts"
import { CallMetrics } from "../services/CallMetrics.ts"
import { InferenceProxy } from "../services/InferenceProxy.ts"
import { SidecarEvent, SidecarEvents } from "../services/SidecarEvents.ts"
import { WorkerConnection, type WorkerState } from "../services/WorkerConnection.ts"

/** Events that wait for one subscriber. */
const MOST_WAITING = 1024

/** What waits for one subscriber, the oldest first. */
class Subscriber {
  #waiting: Array<SidecarEvent> = []
  #lost = 0
  #wake: ((effect: Effect.Effect<void>) => void) | undefined

  tell(event: SidecarEvent): void {
    if (this.#waiting.length >= MOST_WAITING) {
      this.#waiting.shift()
      this.#lost++
    }
    this.#waiting.push(event)
    const wake = this.#wake
    this.#wake = undefined
    wake?.(Effect.void)
  }

  /** All that waits, at least one. */
  readonly take: Effect.Effect<readonly [SidecarEvent, ...Array<SidecarEvent>]> = Effect.suspend(() => {
    const [first, ...rest] = this.#waiting
    if (first === undefined) {
      return Effect.andThen(
        Effect.callback<void>((resume) => {
          this.#wake = resume
        }),
        this.take
      )
    }
    const lost = this.#lost
    this.#waiting = []
    this.#lost = 0
    return Effect.succeed(lost === 0 ? [first, ...rest] : [SidecarEvent.Lost({ count: lost }), first, ...rest])
  })
}

/** Events, each subscriber with a bounded memory of its own; and the last hundred for who comes later. */
export const layer: Layer.Layer<SidecarEvents> = Layer.effect(
  SidecarEvents,
  Effect.gen(function*() {
    const clock = yield* Clock.Clock
    const history = new EventHistory({
      wall: () => clock.currentTimeMillisUnsafe(),
      monotonic: monotonicMillis(clock)
    })
    const subscribers = new Set<Subscriber>()
    return SidecarEvents.of({
      events: Stream.unwrap(Effect.map(
        Effect.acquireRelease(
          Effect.sync(() => {
            const subscriber = new Subscriber()
            subscribers.add(subscriber)
            return subscriber
          }),
          (subscriber) => Effect.sync(() => subscribers.delete(subscriber))
        ),
        (subscriber) => Stream.fromPull(Effect.succeed(subscriber.take))
      )),
      history: () => history.recent(),
      isListenedTo: () => subscribers.size > 0,
      tell: (event) => {
        history.note(event)
        for (const subscriber of subscribers) subscriber.tell(event)
      }
    })
  })
)

/** Tells of the worker's status, change by change. */
export const layerOfWorker: Layer.Layer<never, never, SidecarEvents | WorkerConnection> = Layer.effectDiscard(
  Effect.gen(function*() {
    const events = yield* SidecarEvents
    const connection = yield* WorkerConnection
    const now = monotonicMillis(yield* Clock.Clock)
    let reloadingSince: number | undefined

    const tellReload = (state: WorkerState): void => {
      if (state._tag === "Reloading") {
        if (reloadingSince !== undefined) return
        reloadingSince = now()
        events.tell(SidecarEvent.ReloadBegan({ until: state.until }))
      } else if (reloadingSince !== undefined) {
        const millis = Math.round(now() - reloadingSince)
        reloadingSince = undefined
        events.tell(SidecarEvent.ReloadEnded({ millis, connected: state._tag === "Connected" }))
      }
    }
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        connection.onChange((state) => {
          events.tell(SidecarEvent.WorkerChanged({ state }))
          tellReload(state)
        })
      ),
      (unsubscribe) => Effect.sync(unsubscribe)
    )
  })
)

/** Tells of each refusal that is counted. */
export const layerOfRefusals: Layer.Layer<CallMetrics, never, CallMetrics | SidecarEvents> = Layer.effect(
  CallMetrics,
  Effect.gen(function*() {
    const calls = yield* CallMetrics
    const { tell } = yield* SidecarEvents
    return CallMetrics.of({
      ...calls,
      refused: (reason) => {
        calls.refused(reason)
        tell(SidecarEvent.Refused({ reason }))
      }
    })
  })
)

/** Tells of drains, where they are ordered from. */
export const layerOfDrain: Layer.Layer<never, never, SidecarEvents | InferenceProxy> = Layer.effectDiscard(
  Effect.gen(function*() {
    const events = yield* SidecarEvents
    const proxy = yield* InferenceProxy
    yield* Effect.acquireRelease(
      Effect.sync(() => proxy.onDraining((draining) => events.tell(SidecarEvent.DrainChanged({ draining })))),
      (unsubscribe) => Effect.sync(unsubscribe)
    )
  })
)
