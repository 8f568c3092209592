import { Cause, Clock, Data, Duration, Effect, Layer, Schedule } from "effect"
import { monotonicMillis } from "../internal/monotonic.ts"
import {
  BillingCondition,
  BillingSink,
  type BillingState,
  BillingVerdict,
  type RefusedRecord
} from "../services/BillingSink.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller, SidecarEvent } from "../services/SidecarEvents.ts"
import { Settlement, type UsageBatch, UsageJournal } from "../services/UsageJournal.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"

/** Records in one report (docs/design.md §7). */
const batchLimit = 500
/** Two reports of one catch-up are at least this far apart, and at least as long as the last one took. Milliseconds. */
const pace = 100
/** A batch that fails the service so often in a row is compared with another one. */
const suspicion = 5
/** How often the age of the oldest waiting record goes to the metrics. */
const lagInterval = "5 seconds"
/** The last reports, when the sidecar stops, get this long together. */
const lastLimit = "5 seconds"

class NotNow extends Data.TaggedError("NotNow")<{
  readonly message: string
  /** The service answers, and fails: a record in the batch may be what makes it fail. */
  readonly suspicious: boolean
  readonly retryAfterMillis: number | undefined
}> {}

/** 1 s, doubling, jittered, at most a minute apart; never sooner than the service asked for. For ever. */
const patience = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")]).pipe(
  Schedule.jittered,
  Schedule.modifyDelay(({ duration, input }) =>
    Effect.succeed(Duration.max(duration, Duration.millis(input instanceof NotNow ? input.retryAfterMillis ?? 0 : 0)))
  )
)

type Later = Extract<BillingVerdict, { readonly _tag: "Later" }>

/** A sink that answers for no record has not answered. */
const answered = (verdict: BillingVerdict): BillingVerdict =>
  verdict._tag === "Partly" && verdict.accepted.length + verdict.refused.length === 0
    ? BillingVerdict.Later({ reason: "error", detail: "no record was answered for", retryAfterMillis: undefined })
    : verdict

/** How many records of a batch wait no more. */
const settled = (batch: UsageBatch, settlement: Settlement): number => {
  switch (settlement._tag) {
    case "Partly":
      return settlement.acknowledged.length + settlement.setAside.length
    case "Split":
      return batch.records.length > 1 ? 0 : batch.records.length
    default:
      return batch.records.length
  }
}

/**
 * Carries what waits in the {@link UsageJournal} to the {@link BillingSink}: every `batch_interval_secs`, at least once,
 * one batch at a time, and once more when its scope closes. Whether there is somebody to report to, who composes it says.
 *
 * **Gotchas**
 *
 * Build it *below* what meters streams, so that the last records are in the journal before its last flush.
 */
export const layer: Layer.Layer<BillingCondition, never, UsageJournal | BillingSink | UsageMetrics | SidecarConfig> =
  Layer
    .effect(BillingCondition)(Effect.gen(function*() {
      const { metering } = yield* SidecarConfig
      const journal = yield* UsageJournal
      const sink = yield* BillingSink
      const metrics = yield* UsageMetrics
      const tell = yield* eventTeller
      const monotonic = monotonicMillis(yield* Clock.Clock)
      let condition: BillingState = { _tag: "ok" }
      /** Since when the condition is `ok` or `failing`, monotonic milliseconds. */
      let conditionAt = monotonic()
      /** How long the service took for the last answer. Milliseconds. */
      let took = 0

      const setAside = ({ detail, recordId }: RefusedRecord): Effect.Effect<void> =>
        Effect.suspend(() => {
          metrics.usageReport("set_aside")
          const line = `billing: a record was refused and set aside (${detail}); see "sidecar usage quarantine list"`
          tell(SidecarEvent.BillingChanged({ status: "set_aside", detail: line }))
          return Effect.logError(line).pipe(Effect.annotateLogs({ record_id: recordId }))
        })

      /** A batch is about to be split, or its only record to be set aside. */
      const complain = (batch: UsageBatch, reason: string): Effect.Effect<void> =>
        Effect.suspend(() => {
          const [record, another] = batch.records
          if (another === undefined) return setAside({ recordId: record?.record_id ?? "", detail: reason })
          metrics.usageReport("split")
          return Effect.logDebug(`billing: a report of ${batch.records.length} records is split (${reason})`)
        })

      /** The service has answered, and taken something. */
      const recovered = Effect.suspend(() => {
        const before = condition
        condition = { _tag: "ok" }
        if (before._tag !== "failing") return Effect.void
        const line = "billing: reports are accepted again"
        tell(SidecarEvent.BillingChanged({ status: "accepted", detail: line }))
        return Effect.logInfo(line)
      })

      /** Told when it begins, and when something else is the matter. */
      const troubled = Effect.fnUntraced(function*({ detail, reason, remedy }: Later) {
        const before = condition
        const since = before._tag === "failing" ? before.since : yield* Clock.currentTimeMillis
        if (before._tag !== "failing") conditionAt = monotonic()
        condition = { _tag: "failing", reason, detail, remedy, since }
        if (before._tag === "failing" && before.reason === reason && before.remedy === remedy) return
        const advice = remedy ?? (reason === "misconfigured" ? "check [metering] billing_endpoint" : undefined)
        const line = reason === "misconfigured"
          ? `billing: the service does not take our reports (${detail}); ${advice}; records wait in the journal`
          : `billing: no report can be delivered (${detail}); records wait in the journal${
            advice === undefined ? "" : `; ${advice}`
          }`
        tell(SidecarEvent.BillingChanged({ status: "failing", detail: line }))
        yield* Effect.logWarning(line)
      })

      /** A sink with a fault must not end the reporting: that would be seen when the journal is full, if at all. */
      const send = (batch: UsageBatch): Effect.Effect<BillingVerdict> =>
        sink.send(batch).pipe(Effect.catchDefect((defect) =>
          Effect.as(
            Effect.logError("billing: the sink failed", Cause.die(defect)),
            BillingVerdict.Later({
              reason: "error",
              detail: "the sink failed; the log has its words",
              retryAfterMillis: undefined
            })
          )
        ))

      const attempt = (batch: UsageBatch): Effect.Effect<Settlement, NotNow> =>
        Effect.gen(function*() {
          const monotonic = monotonicMillis(yield* Clock.Clock)
          const startedAt = monotonic()
          const verdict = answered(yield* send(batch))
          took = monotonic() - startedAt
          switch (verdict._tag) {
            case "Accepted":
              metrics.usageReport(verdict.duplicate ? "duplicate" : "accepted")
              yield* recovered
              return Settlement.Acknowledged()
            case "Partly":
              if (verdict.accepted.length > 0) {
                metrics.usageReport("accepted")
                yield* recovered
              }
              yield* Effect.forEach(verdict.refused, setAside, { discard: true })
              return Settlement.Partly({
                acknowledged: verdict.accepted,
                setAside: verdict.refused.map(({ detail, recordId }) => ({ recordId, reason: detail }))
              })
            case "TooLarge":
              yield* complain(batch, "HTTP 413")
              return Settlement.Split({ reason: "HTTP 413: too large even alone" })
            case "Refused":
              yield* complain(batch, verdict.detail)
              return Settlement.Split({ reason: verdict.detail })
            case "Later": {
              metrics.usageReport("retry")
              yield* troubled(verdict)
              return yield* new NotNow({
                message: verdict.detail,
                suspicious: verdict.reason === "error",
                retryAfterMillis: verdict.retryAfterMillis
              })
            }
          }
        })

      /** Whether the service takes another batch than `batch`; then that one is delivered. */
      const othersPass = (batch: UsageBatch): Effect.Effect<boolean> =>
        Effect.gen(function*() {
          const other = yield* journal.nextBatch(batchLimit, batch.batchId)
          if (other === undefined) return false
          const settlement = yield* attempt(other)
          yield* journal.settle(other.batchId, settlement)
          return settlement._tag === "Acknowledged" ||
            (settlement._tag === "Partly" && settlement.acknowledged.length > 0)
        }).pipe(Effect.orElseSucceed(() => false))

      /** What to do with a batch that failed the service again: nothing yet, unless it alone does. */
      const judge = Effect.fnUntraced(function*(batch: UsageBatch, notNow: NotNow) {
        if (!(yield* othersPass(batch))) return yield* notNow
        // The service may have recovered between the two.
        return yield* attempt(batch).pipe(
          Effect.catchTag("NotNow", (again) =>
            again.suspicious
              ? Effect.as(complain(batch, again.message), Settlement.Split({ reason: again.message }))
              : Effect.fail(again))
        )
      })

      /**
       * Tries until there is an answer. A record that makes the service fail must not hold up all others: when they pass
       * and it does not, its batch is split like one that was refused.
       */
      const insist = (batch: UsageBatch): Effect.Effect<Settlement, NotNow> => {
        let failures = 0
        return attempt(batch).pipe(
          Effect.catchTag(
            "NotNow",
            (notNow) => notNow.suspicious && ++failures % suspicion === 0 ? judge(batch, notNow) : Effect.fail(notNow)
          ),
          Effect.retry(patience)
        )
      }

      /** Delivers `batch` by `deliver` and settles it; answers how many of its records wait no more. */
      const report = <E>(batch: UsageBatch, deliver: (batch: UsageBatch) => Effect.Effect<Settlement, E>) =>
        // Delivered but not settled would be delivered twice: the ids make that harmless, but it need not be.
        Effect.uninterruptibleMask((restore) =>
          Effect.flatMap(restore(deliver(batch)), (settlement) =>
            journal.settle(batch.batchId, settlement).pipe(
              Effect.retry({ times: 3, schedule: Schedule.spaced(pace) }),
              Effect.as(settled(batch, settlement))
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
        insist,
        Effect.suspend(() => Effect.sleep(Math.max(pace, took)))
      ).pipe(
        Effect.catch((fault) => Effect.logDebug(`billing: ${fault.message}`)),
        (report) => Effect.suspend(() => Effect.delay(report, Duration.seconds(metering.batch_interval_secs))),
        Effect.forever,
        Effect.forkScoped({ startImmediately: true })
      )
      yield* Effect.forkScoped(Effect.forever(Effect.andThen(lag, Effect.sleep(lagInterval))), {
        startImmediately: true
      })
      return BillingCondition.of({ condition: () => condition, elapsedMillis: () => monotonic() - conditionAt })
    }))
