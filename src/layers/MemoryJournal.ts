import { Clock, Effect, Layer, Random } from "effect"
import { type JournalBackend, makeGroupCommit } from "../internal/usage/groupCommit.ts"
import { makeLedger } from "../internal/usage/ledger.ts"
import { makeMemoryStore } from "../internal/usage/memoryStore.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import { isBilled } from "../services/BillingSink.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller } from "../services/SidecarEvents.ts"
import { UsageJournal } from "../services/UsageJournal.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"

/**
 * A journal that lives as long as its process: simulations, tests, and embedders without a disk. The same policy as the
 * file's; `sidecar usage` does not see it.
 */
export const layer: Layer.Layer<UsageJournal, never, SidecarConfig | UsageMetrics> = Layer.effect(
  UsageJournal,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const metrics = yield* UsageMetrics
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const now = () => clock.currentTimeMillisUnsafe()
    const recordId = makeRecordIds(() => random.nextDoubleUnsafe())
    const ledger = makeLedger(makeMemoryStore(), {
      recordId,
      retention: { limit: metering.offline_queue_size, countMerged: yield* isBilled }
    })
    const session = recordId(now())
    const { sidecarId } = ledger.begin(session, `memory-${session.slice(-8)}`, now())
    const backend: JournalBackend = {
      sidecarId: () => sidecarId,
      generation: () => 1,
      paceMillis: 0,
      commit: (group) => Effect.sync(() => ledger.commit(group)),
      checkpoint: (counts) => {
        ledger.checkpoint(counts, now())
        return true
      },
      nextBatch: (limit, except) => Effect.sync(() => ledger.nextBatch(limit, now(), except)),
      settle: (batchId, settlement) => Effect.sync(() => ledger.settle(batchId, settlement, now())),
      setAside: Effect.sync(() => ledger.setAside()),
      retrySetAside: (recordIds) => Effect.sync(() => ledger.retrySetAside(recordIds)),
      balance: Effect.sync(() => ledger.balance())
    }
    return UsageJournal.of(
      yield* makeGroupCommit(backend, {
        session,
        limit: metering.offline_queue_size,
        recordId,
        metrics,
        tell: yield* eventTeller
      })
    )
  })
)
