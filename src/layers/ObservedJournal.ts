import { Effect, Layer, Option } from "effect"
import { FiberRoster } from "../internal/fiberRoster.ts"
import { HookFailure, makeTeller } from "../internal/hooks/hookFailure.ts"
import { SidecarEvent, SidecarEvents } from "../services/SidecarEvents.ts"
import { type StreamHook, StreamHooks } from "../services/StreamHooks.ts"
import { UsageJournal } from "../services/UsageJournal.ts"
import type { UsageRecord } from "../services/UsageRecord.ts"

/** A hook has so long for the end of a stream. */
const PATIENCE = "10 seconds"
/** Ends that hooks have not finished with; beyond them a hook fails. */
const MOST_ENDS = 1024

/**
 * A journal that tells of each record once it is committed: the hooks' `ended`, and who listens to events. Without either it
 * does not a step more than the journal itself.
 */
export const layer: Layer.Layer<UsageJournal, never, UsageJournal | SidecarEvents> = Layer.effect(
  UsageJournal,
  Effect.gen(function*() {
    const events = yield* SidecarEvents
    const journal = yield* UsageJournal
    const hooks = Option.getOrElse(yield* Effect.serviceOption(StreamHooks), (): ReadonlyArray<StreamHook> => [])
    const ending = hooks.flatMap(({ ended, name }) => ended === undefined ? [] : [{ ended, name }])
    const tell = makeTeller()
    const fibers = new FiberRoster()
    yield* Effect.addFinalizer(() => fibers.interruptAll)
    const run = Effect.runForkWith(yield* Effect.context<never>())
    let unfinished = 0

    const tellHook = ({ ended, name }: typeof ending[number], record: UsageRecord): void => {
      const told = unfinished < MOST_ENDS
        ? Effect.timeout(Effect.suspend(() => ended(record)), PATIENCE)
        : Effect.fail(`${MOST_ENDS} ends wait for it`)
      unfinished++
      fibers.own(run(told.pipe(
        Effect.catchCause((cause) => tell(new HookFailure({ hook: name, part: "ended", cause }))),
        Effect.ensuring(Effect.sync(() => unfinished--))
      )))
    }
    return UsageJournal.of({
      ...journal,
      closed: (slot, record) =>
        ending.length > 0 || events.isListenedTo()
          ? Effect.andThen(
            journal.closed(slot, record),
            Effect.sync(() => {
              const whole: UsageRecord = { ...record, sidecar_id: journal.sidecarId() }
              events.tell(SidecarEvent.StreamEnded({ record: whole }))
              for (const one of ending) tellHook(one, whole)
            })
          )
          : journal.closed(slot, record)
    })
  })
)
