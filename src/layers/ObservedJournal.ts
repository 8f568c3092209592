import { Effect, Layer } from "effect"
import { SidecarEvent, SidecarEvents } from "../services/SidecarEvents.ts"
import { UsageJournal } from "../services/UsageJournal.ts"

/** A journal that tells of each record once it is committed. Nobody listens: not a step more than the journal itself. */
export const layer: Layer.Layer<UsageJournal, never, UsageJournal | SidecarEvents> = Layer.effect(
  UsageJournal,
  Effect.gen(function*() {
    const events = yield* SidecarEvents
    const journal = yield* UsageJournal
    return UsageJournal.of({
      ...journal,
      closed: (slot, record) =>
        events.isListenedTo()
          ? Effect.andThen(
            journal.closed(slot, record),
            Effect.sync(() =>
              events.tell(SidecarEvent.StreamEnded({ record: { ...record, sidecar_id: journal.sidecarId() } }))
            )
          )
          : journal.closed(slot, record)
    })
  })
)
