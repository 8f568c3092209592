import type { JournalFaultReason } from "../../../services/UsageJournal.ts"
import type { UsageMetrics } from "../../../services/UsageMetrics.ts"
import { wordCounter } from "../labelSets.ts"
import { byLabel, gauge } from "../metricFamily.ts"
import type { Figures } from "./figures.ts"

const journalFaults: ReadonlyArray<JournalFaultReason> = [
  "full",
  "readonly",
  "corrupt",
  "locked",
  "stalled",
  "stopped",
  "moved",
  "io"
]

export const make = (): Figures<UsageMetrics["Service"]> => {
  const records = wordCounter(["open", "waiting", "acknowledged", "set_aside", "merged", "unsaved"])
  const recordTokens = wordCounter(["open", "delivered", "waiting", "acknowledged", "set_aside"])
  const reports = wordCounter(["accepted", "duplicate", "retry", "split", "set_aside"])
  const suspects = wordCounter(["completion_tokens", "prompt_tokens", "large_chunk"])
  const journalErrors = wordCounter(journalFaults)
  let lag = 0

  const recorder: UsageMetrics["Service"] = {
    usageRecords: records.set,
    usageTokens: recordTokens.set,
    usageSuspect: suspects.add,
    usageReport: reports.add,
    usageLag: (seconds) => {
      lag = seconds
    },
    journalError: journalErrors.add
  }

  const families = [
    byLabel("gauge", "sidecar_usage_records", "Usage records by state.", "state", records.read),
    byLabel("gauge", "sidecar_usage_tokens", "Metered tokens by where they are.", "state", recordTokens.read),
    byLabel(
      "counter",
      "sidecar_usage_reports_total",
      "Reports to the billing service by result.",
      "result",
      reports.read
    ),
    byLabel(
      "counter",
      "sidecar_usage_suspect_total",
      "Streams whose usage a biller should look at, by reason.",
      "reason",
      suspects.read
    ),
    gauge("sidecar_usage_lag_seconds", "Age of the oldest usage record that waits.", () => lag),
    byLabel(
      "counter",
      "sidecar_journal_errors_total",
      "Failures of the usage journal by reason.",
      "reason",
      journalErrors.read
    )
  ]
  return { recorder, families }
}
