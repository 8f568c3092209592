import { Clock, Effect, Fiber, Latch, Layer, Random } from "effect"
import { Roster } from "../internal/roster.ts"
import { makeCountsPacker } from "../internal/usage/counts.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import { makeClosedRecord, Tally } from "../internal/usage/tally.ts"
import { Metrics } from "../services/Metrics.ts"
import { UsageJournal } from "../services/UsageJournal.ts"
import { mostTokens, tokensOf, UsageMeter, type UsageTally } from "../services/UsageMeter.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"

/** How often counts go to the journal: 250 ms later they are there, with the 10 ms that a commit waits for company. */
const checkpointMillis = 240
/** How often the sums go to the metrics, and the journal is looked at, when nobody asks. */
const balanceInterval = "5 seconds"

/** So much of a worker's words is logged. Characters. */
const mostShown = 40

const isSuspect = (tally: UsageTally): boolean =>
  tally.doubtedTokens !== undefined || tally.doubtedPrompt !== undefined ||
  (tally.largeChunks > 0 && tally.workerTokens === undefined)

/** Meters streams into the {@link UsageJournal}: opening and counting are plain field writes, never a wait. */
export const layer: Layer.Layer<UsageMeter, never, UsageJournal | UsageMetrics | Metrics> = Layer.effect(
  UsageMeter,
  Effect.gen(function*() {
    const journal = yield* UsageJournal
    const metrics = yield* UsageMetrics
    const clock = yield* Clock.Clock
    const random = yield* Random.Random
    const recordId = makeRecordIds(() => random.nextDoubleUnsafe())
    const running = new Roster<Tally>()
    const closedRecord = makeClosedRecord()
    const packer = makeCountsPacker()
    const someRun = Latch.makeUnsafe(false)
    let slots = 0
    let generation = journal.generation()

    /** Writes the identities that have become known, and the counters when any has moved. */
    const checkpoint = Effect.sync(() => {
      const fresh = journal.generation() !== generation
      generation = journal.generation()
      let moved = fresh
      for (const tally of running.all()) {
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
      for (const tally of running.all()) openTokens += tokensOf(tally)
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
    const scope = yield* Effect.scope
    let underWay: Fiber.Fiber<void> | undefined
    /** One at a time, shared by all that ask: a disk that hangs is asked once, however often somebody reads. */
    const shared = Effect.suspend(() => {
      if (underWay !== undefined) return Effect.asVoid(Fiber.await(underWay))
      const over = Effect.sync(() => {
        underWay = undefined
      })
      return Effect.flatMap(Effect.forkIn(Effect.ensuring(report, over), scope), (fiber) => {
        underWay = fiber
        return Effect.asVoid(Fiber.await(fiber))
      })
    })
    yield* (yield* Metrics).beforeReading(shared)
    yield* shared.pipe(
      Effect.andThen(Effect.sleep(balanceInterval)),
      Effect.forever,
      Effect.forkScoped({ startImmediately: true })
    )

    let warned = false
    /** Counts what a biller should look at; the worker's own words are told once. */
    const look = (tally: UsageTally): Effect.Effect<void> =>
      Effect.suspend(() => {
        const { doubtedPrompt, doubtedTokens, largeChunks, workerTokens } = tally
        if (doubtedTokens !== undefined) metrics.usageSuspect("completion_tokens")
        if (doubtedPrompt !== undefined) metrics.usageSuspect("prompt_tokens")
        if (largeChunks > 0 && workerTokens === undefined) metrics.usageSuspect("large_chunk")
        const word = doubtedTokens ?? doubtedPrompt
        if (warned || word === undefined) return Effect.void
        warned = true
        const key = doubtedTokens === undefined ? "cy-prompt-tokens" : "cy-completion-tokens"
        return Effect.logWarning(
          `metering: the worker said ${key}: ${
            JSON.stringify(word.slice(0, mostShown))
          }, which is no count of tokens up `
            + `to ${mostTokens}; such a word is not believed, generated tokens are then counted by their chunks`
        ).pipe(Effect.annotateLogs({ record_id: tally.recordId }))
      })

    return UsageMeter.of({
      open: () => {
        const startedAt = clock.currentTimeMillisUnsafe()
        const tally = new Tally(++slots, recordId(startedAt), startedAt)
        tally.place = running.add(tally)
        journal.opened(tally)
        someRun.openUnsafe()
        return tally
      },
      close: (tally, end) =>
        Effect.suspend(() => {
          if (!(tally instanceof Tally) || !running.remove(tally.place, tally)) return Effect.void
          const closed = journal.closed(tally.slot, closedRecord(tally, end, clock.currentTimeMillisUnsafe()))
          return isSuspect(tally) ? Effect.andThen(look(tally), closed) : closed
        })
    })
  })
)
