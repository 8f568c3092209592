import { Clock, Data, Duration, Effect, Layer, Schedule } from "effect"
import { BillingSink } from "../services/BillingSink.ts"
import { Metrics } from "../services/Metrics.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { Settlement, type UsageBatch, UsageJournal } from "../services/UsageJournal.ts"

/** Records in one report (design §7). */
const batchLimit = 500
/** Two reports of one catch-up are at least this far apart, and at least as long as the last one took. Milliseconds. */
const pace = 100
/** How often the age of the oldest waiting record goes to the metrics. */
const lagInterval = "5 seconds"
/** The last reports, when the sidecar stops, get this long together. */
const lastLimit = "5 seconds"

class NotNow extends Data.TaggedError("NotNow")<{
  readonly message: string
  readonly retryAfterMillis: number | undefined
}> {}

/** 1 s, doubling, jittered, at most a minute apart; never sooner than the service asked for. For ever. */
const patience = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")]).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration, input }) =>
    Effect.succeed(Duration.max(duration, Duration.millis(input instanceof NotNow ? input.retryAfterMillis ?? 0 : 0)))
  )
)

/**
 * Carries what waits in the {@link UsageJournal} to the {@link BillingSink}: every `batch_interval_secs`, at least once,
 * one batch at a time, and once more when its scope closes. Without `[metering] billing_endpoint` it does nothing.
 *
 * **Gotchas**
 *
 * Build it *below* what meters streams, so that the last records are in the journal before its last flush.
 */
export const layer: Layer.Layer<never, never, UsageJournal | BillingSink | Metrics | SidecarConfig> = Layer
  .effectDiscard(Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    if (metering.billing_endpoint === undefined) return
    const journal = yield* UsageJournal
    const sink = yield* BillingSink
    const metrics = yield* Metrics
    let troubled = false
    /** How long the service took for the last answer. Milliseconds. */
    let took = 0

    const attempt = (batch: UsageBatch): Effect.Effect<Settlement, NotNow> =>
      Effect.gen(function*() {
        const startedAt = yield* Clock.currentTimeMillis
        const verdict = yield* sink.send(batch)
        took = (yield* Clock.currentTimeMillis) - startedAt
        switch (verdict._tag) {
          case "Accepted":
            metrics.usageReport(verdict.duplicate ? "duplicate" : "accepted")
            if (troubled) yield* Effect.logInfo("billing: reports are accepted again")
            troubled = false
            return Settlement.Acknowledged()
          case "TooLarge":
            metrics.usageReport(batch.records.length > 1 ? "split" : "set_aside")
            return Settlement.Split({ reason: "HTTP 413: too large even alone" })
          case "Refused":
            if (batch.records.length > 1) {
              metrics.usageReport("split")
            } else {
              metrics.usageReport("set_aside")
              yield* Effect.logError(
                `billing: a record was refused and set aside (${verdict.detail}); see "sidecar usage quarantine list"`
              ).pipe(Effect.annotateLogs({ record_id: batch.records[0]?.record_id }))
            }
            return Settlement.Split({ reason: verdict.detail })
          case "Later": {
            metrics.usageReport("retry")
            const first = !troubled
            troubled = true
            if (first) {
              yield* Effect.logWarning(
                verdict.reason === "misconfigured"
                  ? `billing: the service does not know us (${verdict.detail}); check [metering] billing_endpoint`
                  : `billing: no report can be delivered (${verdict.detail}); records wait in the journal`
              )
            }
            return yield* new NotNow({ message: verdict.detail, retryAfterMillis: verdict.retryAfterMillis })
          }
        }
      })

    /** Delivers `batch` by `deliver` and settles it; answers how many of its records wait no more. */
    const report = <E>(batch: UsageBatch, deliver: (batch: UsageBatch) => Effect.Effect<Settlement, E>) =>
      // Delivered but not settled would be delivered twice: the ids make that harmless, but it need not be.
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(restore(deliver(batch)), (settlement) =>
          journal.settle(batch.batchId, settlement).pipe(
            Effect.retry({ times: 3, schedule: Schedule.spaced(pace) }),
            Effect.as(settlement._tag === "Split" && batch.records.length > 1 ? 0 : batch.records.length)
          ))
      )

    /** Everything that waits now, with a breath between two reports. */
    const pass = Effect.fnUntraced(function*<E>(
      deliver: (batch: UsageBatch) => Effect.Effect<Settlement, E>,
      breath: Effect.Effect<void>
    ) {
      let left = (yield* journal.balance).waiting.records
      while (left > 0) {
        const batch = yield* journal.nextBatch(batchLimit)
        if (batch === undefined) return
        left -= yield* report(batch, deliver)
        if (left > 0) yield* breath
      }
    })

    const lag = Effect.gen(function*() {
      const { oldestWaitingAt } = yield* journal.balance
      const now = yield* Clock.currentTimeMillis
      metrics.usageLag(oldestWaitingAt === undefined ? 0 : Math.max(0, now - oldestWaitingAt) / 1000)
    })

    yield* Effect.addFinalizer(() =>
      pass(attempt, Effect.void).pipe(
        Effect.interruptible,
        Effect.timeoutOption(lastLimit),
        Effect.catch(() => Effect.logWarning("billing: the last records wait in the journal for the next start"))
      )
    )
    yield* pass(
      (batch) => Effect.retry(attempt(batch), patience),
      Effect.suspend(() => Effect.sleep(Math.max(pace, took)))
    ).pipe(
      Effect.catch((fault) => Effect.logDebug(`billing: ${fault.message}`)),
      Effect.delay(Duration.seconds(metering.batch_interval_secs)),
      Effect.forever,
      Effect.forkScoped({ startImmediately: true })
    )
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(lag, Effect.sleep(lagInterval))), { startImmediately: true })
  }))
