import { Clock, Effect, Latch, Layer, Random } from "effect"
import { makeCountsPacker } from "../internal/usage/counts.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import { closedRecord, Tally } from "../internal/usage/tally.ts"
import { Metrics } from "../services/Metrics.ts"
import { UsageJournal } from "../services/UsageJournal.ts"
import { tokensOf, UsageMeter } from "../services/UsageMeter.ts"

/** How often counts go to the journal: 250 ms later they are there, with the 10 ms that a commit waits for company. */
const checkpointMillis = 240
/** How often the sums go to the metrics while something happens. */
const balanceInterval = "5 seconds"

/** Meters streams into the {@link UsageJournal}: opening and counting are plain field writes, never a wait. */
export const layer: Layer.Layer<UsageMeter, never, UsageJournal | Metrics> = Layer.effect(
  UsageMeter,
  Effect.gen(function*() {
    const journal = yield* UsageJournal
    const metrics = yield* Metrics
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const recordId = makeRecordIds(() => random.nextDoubleUnsafe())
    const running = new Map<string, Tally>()
    const packer = makeCountsPacker()
    const someRun = Latch.makeUnsafe(false)
    let slots = 0
    let generation = journal.generation()

    /** Writes the identities that have become known, and the counters when any has moved. */
    const checkpoint = Effect.sync(() => {
      const fresh = journal.generation() !== generation
      generation = journal.generation()
      let moved = fresh
      for (const tally of running.values()) {
        if (fresh || (!tally.identified && tally.identity !== undefined)) {
          tally.identified = tally.identity !== undefined
          journal.opened(tally)
        }
        if (tally.bytes !== tally.handedBytes || tally.replays !== tally.handedReplays) {
          tally.handedBytes = tally.bytes
          tally.handedReplays = tally.replays
          moved = true
        }
        if (tally.handedBytes + tally.handedReplays > 0) packer.add(tally)
      }
      const counts = packer.take()
      if (moved) journal.checkpoint(counts)
      if (running.size === 0) someRun.closeUnsafe()
    })

    yield* someRun.whenOpen(Effect.sleep(checkpointMillis)).pipe(
      Effect.andThen(checkpoint),
      // A sleep is pause enough.
      Effect.forever({ disableYield: true }),
      Effect.forkScoped({ startImmediately: true })
    )

    const report = Effect.gen(function*() {
      const balance = yield* journal.balance
      let openTokens = 0
      for (const tally of running.values()) openTokens += tokensOf(tally)
      metrics.usageRecords("open", running.size)
      metrics.usageRecords("waiting", balance.waiting.records)
      metrics.usageRecords("acknowledged", balance.acknowledged.records)
      metrics.usageRecords("set_aside", balance.setAside.records)
      metrics.usageRecords("merged", balance.mergedStreams)
      metrics.usageRecords("unsaved", balance.unsaved.records)
      metrics.usageTokens("open", openTokens)
      metrics.usageTokens("delivered", balance.delivered.tokens)
      metrics.usageTokens("waiting", balance.waiting.tokens)
      metrics.usageTokens("acknowledged", balance.acknowledged.tokens)
      metrics.usageTokens("set_aside", balance.setAside.tokens)
    })
    yield* report.pipe(
      Effect.andThen(Effect.sleep(balanceInterval)),
      Effect.forever,
      Effect.forkScoped({ startImmediately: true })
    )

    return UsageMeter.of({
      open: () => {
        const startedAt = clock.currentTimeMillisUnsafe()
        const tally = new Tally(++slots, recordId(startedAt), startedAt)
        running.set(tally.recordId, tally)
        journal.opened(tally)
        someRun.openUnsafe()
        return tally
      },
      close: (tally, end) =>
        Effect.suspend(() => {
          const known = running.get(tally.recordId)
          if (known === undefined) return Effect.void
          running.delete(tally.recordId)
          return journal.closed(known.slot, closedRecord(tally, end, clock.currentTimeMillisUnsafe()))
        })
    })
  })
)
