import { Status } from "../../../src/index.ts"
import { type CallEvidence, type Evidence, workerStatus } from "./play.ts"
import { anyCall, last, overAt, read, reasonOf, rule, SLACK, type StreamRule } from "./streamRules.ts"

/** Calls of other methods that were open when this one came: as many as streams are taken, and no more. */
const openBeside = (call: CallEvidence, { foreign }: Evidence): number =>
  foreign.filter((other) =>
    other !== call && other.seen.startedAt <= call.seen.startedAt && overAt(other) >= call.seen.startedAt
  ).length

/**
 * What must hold for a call of a method that the sidecar gives no meaning: carried as bytes, never held, never sent again,
 * never metered (docs/design.md §10).
 */
export const all: ReadonlyArray<StreamRule> = [
  ...anyCall,

  rule(
    "a foreign call is sent once, and never metered",
    ({ attempts, records }) =>
      attempts.length > 1 || records.length > 0 ? `${attempts.length} attempts, ${records.length} records` : undefined
  ),

  rule("a foreign call is never held, but while the connection is renewed", (call, { history, settings }) => {
    const [first] = call.attempts
    const { startedAt } = call.seen
    const waited = (first?.seen.arrivedAt ?? startedAt) - startedAt
    const state = history.findLast(({ at }) => at <= startedAt)?.state
    const renewing = history.some(({ at, state }) =>
      at === startedAt && state._tag === "Connected" && state.renewing
    ) ||
      state?._tag === "Connected" && state.renewing === true
    const most = renewing ? 2 * settings.health.check_timeout_secs * 1000 : 0
    return waited <= most + SLACK ? undefined : `${waited} ms`
  }),

  rule("a foreign call ends with the worker's own word, or for a reason", (call, evidence) => {
    const { status } = call.seen
    if (status === undefined) return undefined
    const own = workerStatus(call.plan.script)
    const reason = reasonOf(call)
    if (reason === "too_many_streams") {
      const open = openBeside(call, evidence)
      return open >= evidence.settings.server.max_concurrent_streams ? undefined : `${reason} beside ${open} others`
    }
    if (reason === "deadline" || reason?.startsWith("worker_") === true) return undefined
    const { first_token_timeout_secs, slow_reader_timeout_secs } = evidence.settings.server
    if (reason === "slow_reader" || reason === "stream_idle") {
      const limit = reason === "slow_reader" ? slow_reader_timeout_secs : first_token_timeout_secs
      const lived = overAt(call) - call.seen.startedAt
      const eager = reason === "slow_reader" && call.plan.reader === "eager"
      return !eager && lived >= limit * 1000 - 2 ? undefined : `${reason} after ${lived} ms`
    }
    if (reason !== undefined && reason !== "draining") return reason
    if (reason === "draining" || status.code === Status.Code.UNAVAILABLE) {
      const broken = last(call)?.seen.end?.fate
      const lost = broken === "broken" || broken === "dismissed" || broken === undefined
      return reason === "draining" || lost ? undefined : "UNAVAILABLE"
    }
    if (status.code !== own.code || status.message !== own.message) return `${status.code} ${status.message}`
    const { tokens } = read(call)
    const all = status.code !== Status.Code.OK || call.plan.script.end === "empty" ||
      tokens.length === call.plan.script.tokens
    return all ? undefined : `OK after ${tokens.length} of ${call.plan.script.tokens} tokens`
  })
]
