import { Status } from "../../../src/index.ts"
import { Messages } from "../../../src/testing.ts"
import type { Plan } from "./plan.ts"
import {
  type Attempt,
  type CallEvidence,
  type Evidence,
  noticeTexts,
  reportedTokens,
  tokenTexts,
  workerStatus
} from "./play.ts"

/**
 * What must hold for every stream (docs/design.md §6, §12). Each
 * rule answers what is wrong, or nothing.
 */
export interface StreamRule {
  readonly rule: string
  readonly broken: (call: CallEvidence, evidence: Evidence) => string | undefined
}

const { Code } = Status

/** The machine may stall between two steps: what must be at once may come so much later. Milliseconds. */
export const SLACK = 250

/** Goodbye is GOAWAY NO_ERROR, with a new worker behind it or not. */
const FAREWELL = "a worker that says goodbye never costs a stream more than one that is killed"

const NOTICE = "[模型加载]"
/** What loads a model says while it loads, besides the notices of the script. */
const LOADING = "[模型加载] 正在加载模型...\n"

/** Reasons to refuse a stream at the door: it was never admitted, so it has no record. */
const AT_THE_DOOR = new Set([
  "draining",
  "too_many_streams",
  "metadata_too_large",
  "worker_disconnected",
  "worker_unhealthy",
  "worker_reloading",
  "circuit_open"
])

export const reasonOf = ({ seen }: CallEvidence): string | undefined => {
  const reason = seen.status?.metadata["cy-reason"]
  return typeof reason === "string" ? reason : undefined
}

/** The messages that the gateway got, by what they are. */
export const read = ({ seen, traceId }: CallEvidence) => {
  const kinds = seen.replies.map(({ chunk, endOfStream }) =>
    endOfStream
      ? "end"
      : chunk.startsWith("[System]")
      ? "hold notice"
      : chunk.startsWith(NOTICE)
      ? "notice"
      : chunk.startsWith(`${traceId}:`)
      ? "token"
      : "foreign"
  )
  const tokens = seen.replies.flatMap(({ chunk }, n) => kinds[n] === "token" ? [chunk] : [])
  const notices = seen.replies.flatMap(({ chunk }, n) => kinds[n] === "notice" ? [chunk] : [])
  return { kinds, tokens, notices, ended: kinds.includes("end") }
}

const isEager = ({ plan }: CallEvidence): boolean => plan.reader === "eager"

export const sentTokens = (attempt: Attempt): number => attempt.frames.filter((kind) => kind === "token").length

/** The last time the stream was at a worker. */
export const last = ({ attempts }: CallEvidence): Attempt | undefined => attempts.at(-1)

/** The moment at which it was over for the sidecar. */
export const overAt = ({ seen }: CallEvidence): number => Math.min(seen.handledAt ?? Infinity, seen.endedAt ?? Infinity)

/** Where fibers yield anywhere, a gateway may leave before the sidecar's handler has taken its first step. */
export const mayBeUnseen = ({ attempts, records, seen }: CallEvidence, { machine }: Plan): boolean =>
  machine.yields > 0 && seen.left !== undefined && attempts.length === 0 && records.length === 0

export const rule = (name: string, broken: StreamRule["broken"]): StreamRule => ({ rule: name, broken })

/** What one who is ready does not say. */
const REFUSALS = new Set(
  [...AT_THE_DOOR, "queue_full"].filter((reason) => reason !== "metadata_too_large")
)

/** A refusal's hint must be there for these reasons. */
const HINTED = new Set([
  "worker_disconnected",
  "worker_unhealthy",
  "hold_full",
  "hold_timeout",
  "queue_full",
  "queue_timeout",
  "circuit_open",
  "too_many_streams"
])

const CODES: Readonly<Record<string, number>> = {
  draining: Code.UNAVAILABLE,
  too_many_streams: Code.RESOURCE_EXHAUSTED,
  worker_disconnected: Code.UNAVAILABLE,
  worker_unhealthy: Code.UNAVAILABLE,
  worker_reloading: Code.UNAVAILABLE,
  circuit_open: Code.UNAVAILABLE,
  hold_full: Code.RESOURCE_EXHAUSTED,
  hold_timeout: Code.UNAVAILABLE,
  queue_full: Code.RESOURCE_EXHAUSTED,
  queue_timeout: Code.UNAVAILABLE,
  deadline: Code.DEADLINE_EXCEEDED,
  worker_lost: Code.UNAVAILABLE,
  truncated: Code.DATA_LOSS,
  empty_stream: Code.DATA_LOSS,
  stream_idle: Code.UNAVAILABLE,
  slow_reader: Code.CANCELLED
}

const OUTCOMES: Readonly<Record<string, string>> = {
  draining: "drained",
  deadline: "deadline",
  worker_lost: "worker_lost",
  truncated: "truncated",
  empty_stream: "truncated",
  stream_idle: "timeout",
  slow_reader: "slow_reader"
}

/** How long before its own clock's word the sidecar may take an RST for the deadline's, in milliseconds. */
const TOLERANCE = 100

const isTimeOver = ({ plan: { timeoutMillis } }: CallEvidence, lived: number, more = 2): boolean =>
  timeoutMillis !== undefined && lived >= timeoutMillis - Math.min(TOLERANCE, timeoutMillis / 3) - more

/** Whether an end with `reason` is justified by what happened. */
const unjustified = (call: CallEvidence, evidence: Evidence, reason: string): string | undefined => {
  const { plan, seen } = call
  const { settings } = evidence
  const at = overAt(call)
  const lived = at - seen.startedAt
  const [record] = call.records
  switch (reason) {
    case "draining":
      return evidence.plan.operations.some(({ what }) => what === "drain" || what === "abort")
        ? undefined
        : "draining, and nobody has asked for it"
    case "too_many_streams": {
      const near = evidence.samples.filter((sample) => Math.abs(sample.at - at) <= SLACK)
      const most = Math.max(call.inFlightBefore, ...near.map(({ inFlight }) => inFlight))
      return most >= settings.server.max_concurrent_streams ? undefined : `${most} in flight`
    }
    case "worker_disconnected":
    case "worker_unhealthy": {
      const from = Math.max(seen.startedAt, at - SLACK)
      const states = evidence.history
        .filter((change, n) => change.at <= at && (evidence.history[n + 1]?.at ?? Infinity) >= from)
        .map(({ state }) => state._tag)
      return states.some((tag) => tag === "Disconnected" || tag === "Connecting")
        ? undefined
        : `refused while ${states.join(", ")}`
    }
    case "worker_reloading": {
      const from = Math.max(seen.startedAt, at - SLACK)
      const limit = settings.reload.hold_timeout_secs * 1000 - SLACK
      const late = evidence.history.some(({ at: since, state }, n) =>
        since <= at && (evidence.history[n + 1]?.at ?? Infinity) >= from && state._tag === "Reloading" &&
        state.until !== undefined && state.until - at > limit
      )
      return late ? undefined : "the worker means to be back in time"
    }
    case "hold_full": {
      const { max_held_bytes, max_held_streams } = settings.reload
      const near = evidence.samples.filter((sample) => Math.abs(sample.at - at) <= SLACK)
      const most = Math.max(0, ...near.map(({ held }) => held))
      const bytes = Math.max(0, ...near.map(({ mostBytes }) => mostBytes))
      // It came out of the queue, or from a broken link: nobody looked at the gauges then.
      const unseen = settings.server.max_worker_streams > 0 || evidence.plan.machine.yields > 0
      if (unseen || lived > SLACK || call.attempts.length > 0) {
        const all = evidence.calls.reduce((sum, { request }) => sum + request.length + 5, 0)
        return evidence.calls.length > max_held_streams || all > max_held_bytes ? undefined : "there is room for all"
      }
      return most >= max_held_streams || bytes + call.request.length + 5 > max_held_bytes
        ? undefined
        : `${most} of ${max_held_streams} held, ${bytes} of ${max_held_bytes} bytes`
    }
    case "hold_timeout": {
      const limit = Math.min(settings.reload.hold_timeout_secs, settings.reload.hold_on_disconnect_secs || Infinity)
      return (record?.held_ms ?? 0) >= limit * 1000 - 2 ? undefined : `held for ${record?.held_ms} ms only`
    }
    case "queue_full":
      return settings.server.max_worker_streams > 0 ? undefined : "no places are counted"
    case "queue_timeout":
      return settings.server.max_worker_streams > 0 && lived >= settings.server.queue_timeout_secs * 1000 - 2
        ? undefined
        : `after ${lived} ms`
    case "circuit_open": {
      const failures = [...evidence.calls, ...evidence.late].flatMap(({ attempts }) => attempts).filter((attempt) =>
        attempt.frames.length === 0 && attempt.seen.end !== undefined && attempt.seen.end.at <= at &&
        (attempt.seen.end.fate === "broken" || attempt.seen.end.code === Code.INTERNAL)
      )
      return failures.length >= settings.circuit_breaker.trip_after ? undefined : `${failures.length} failures so far`
    }
    case "deadline":
      return isTimeOver(call, lived) ? undefined : `after ${lived} ms`
    case "worker_lost": {
      const attempt = last(call)
      const tight = settings.reload.max_held_streams < evidence.calls.length ||
        settings.reload.max_held_bytes < 10_000_000
      // A link that is gone refuses a stream unseen; it waits for the next one, if there is room.
      const fate = attempt?.seen.end?.fate
      if (attempt === undefined || (fate !== "broken" && fate !== "dismissed")) {
        return tight
          ? undefined
          : "it was not at a worker"
      }
      if (sentTokens(attempt) > 0) return undefined
      const again = settings.reload.replay_max_bytes >= call.request.length + 5 && record?.replays === 0
      return again && !tight ? "given up before the first token, without a second try" : undefined
    }
    case "truncated":
      return plan.script.end === "unfinished" && settings.server.require_end_of_stream ? undefined : plan.script.end
    case "empty_stream":
      return plan.script.end === "empty" ? undefined : plan.script.end
    case "stream_idle": {
      const attempt = last(call)
      if (attempt === undefined) return "it has never been at a worker"
      const limit = sentTokens(attempt) === 0
        ? settings.server.first_token_timeout_secs
        : settings.server.stream_idle_timeout_secs
      return at - attempt.seen.arrivedAt >= limit * 1000 - 2 ? undefined : `${at - attempt.seen.arrivedAt} ms`
    }
    case "slow_reader":
      return isEager(call) ? "it reads everything at once" : undefined
    default:
      return `an unknown reason`
  }
}

/**
 * Whether a stream was refused at `at` for want of a worker although the last thing that happened was that a worker which
 * had been connected said goodbye: it may be back within the time of a hold.
 */
const refusedAfterGoodbye = (at: number, { events, history, settings }: Evidence): string | undefined => {
  const said = events.findLastIndex((event) => event.what === "said GOAWAY" && event.at <= at)
  const goodbye = events[said]?.at
  if (goodbye === undefined || at - goodbye >= settings.reload.hold_timeout_secs * 1000) return undefined
  const before = history.findLast((change) => change.at < goodbye)?.state
  if (before?._tag !== "Connected") return undefined
  // From then on nobody has done anything else to it, it was not proved again, and it did not say itself that it is away.
  const other = events.slice(said + 1).some((event) =>
    event.at <= at && (event.who === "timeline" || event.who === "test" && event.what !== "status")
  )
  const news = history.some(({ at: changed, state }) =>
    changed >= goodbye && changed <= at &&
    (state._tag === "Connected" ? state.renewing !== true : state._tag === "Reloading"
      ? state.restarting !== true
      : state._tag === "Disconnected" && state.reason === "Unhealthy")
  )
  return other || news ? undefined : `refused ${at - goodbye} ms after the goodbye`
}

/** What must hold for a call of any method. */
export const anyCall: ReadonlyArray<StreamRule> = [
  rule("every stream ends, and the sidecar's work for it", (call, evidence) => {
    const { plan, seen } = call
    if (seen.handledAt === undefined && !mayBeUnseen(call, evidence.plan)) return "its handler still runs"
    // A gateway that reads nothing more never sees the end that waits for it.
    if (seen.endedAt === undefined && plan.reader === "eager") return "the gateway waits for ever"
    return undefined
  }),

  rule("the gateway gets a prefix of the worker's tokens: none twice, none lost, none invented", (call) => {
    const { kinds, tokens } = read(call)
    const wanted = tokenTexts(call.traceId, call.plan.script.tokens)
    if (kinds.includes("foreign")) return `a message that nobody sent: ${JSON.stringify(call.seen.replies)}`
    const wrong = tokens.findIndex((token, n) => token !== wanted[n])
    return wrong < 0 ? undefined : `token ${wrong} is ${tokens[wrong]}, not ${wanted[wrong]}`
  }),

  rule("every token that came before the worker's end is delivered before the status", (call) => {
    const attempt = last(call)
    const { seen } = call
    if (attempt === undefined || seen.status === undefined || attempt.seen.end === undefined) return undefined
    if (attempt.seen.end.fate === "cancelled" || seen.abandoned > 0) return undefined
    const { tokens } = read(call)
    return tokens.length === sentTokens(attempt) ? undefined : `${tokens.length} of ${sentTokens(attempt)} tokens`
  }),

  rule("the worker gets the request byte for byte, each time, and the half-close with it", (call) => {
    for (const { seen } of call.attempts) {
      const [request, ...more] = seen.requests
      if (more.length > 0) return `${more.length} messages too many`
      if (request === undefined || Buffer.compare(request, call.request) !== 0) return "other bytes"
      if (call.plan.halfClose === "at once" && seen.halfClosedAt === undefined) return "no half-close"
    }
    return undefined
  }),

  rule("the metadata of an attempt has the deadline that is left", (call) => {
    const { timeoutMillis } = call.plan
    for (const { seen } of call.attempts) {
      if ((seen.timeoutMillis === undefined) !== (timeoutMillis === undefined)) return String(seen.timeoutMillis)
      if (timeoutMillis === undefined || seen.timeoutMillis === undefined) continue
      const left = timeoutMillis - (seen.arrivedAt - call.seen.startedAt)
      if (Math.abs(seen.timeoutMillis - Math.max(1, left)) > 2) return `${seen.timeoutMillis} ms, ${left} ms are left`
    }
    return undefined
  }),

  rule("a stream that is over is over at the worker, too, and comes there no more", (call) => {
    const at = overAt(call)
    for (const { seen } of call.attempts) {
      if (seen.arrivedAt > at) return `it came to the worker ${seen.arrivedAt - at} ms after its end`
      if (seen.end === undefined) return "the worker still works for it"
      if (seen.end.at > at + SLACK) return `its worker call ended ${seen.end.at - at} ms later`
    }
    return undefined
  }),

  rule("a deadline is kept, whatever the gateway reads", (call) => {
    const { timeoutMillis } = call.plan
    if (timeoutMillis === undefined) return undefined
    const late = (call.seen.handledAt ?? Infinity) - call.seen.startedAt - timeoutMillis
    return late <= SLACK ? undefined : `${late} ms late`
  }),

  rule("a gateway's leaving ends the work for it at once", (call, { plan }) => {
    if (call.seen.left === undefined || mayBeUnseen(call, plan)) return undefined
    const late = (call.seen.handledAt ?? Infinity) - (call.seen.endedAt ?? 0)
    return late <= SLACK ? undefined : `${late} ms later`
  }),

  rule("only metadata that may pass reaches the worker, within its limit", (call, { settings }) => {
    for (const { seen } of call.attempts) {
      const kept = { "x-kept": "kept", authorization: "Bearer a", "x-some": ["1", "2"] }
      const wanted = { ...(call.plan.notice ? { "cy-notice": "message" } : {}), ...(call.plan.odd ? kept : {}) }
      const keys = Object.keys(seen.metadata).toSorted().join(" ")
      if (keys !== Object.keys(wanted).toSorted().join(" ")) return keys
      if (call.plan.odd && JSON.stringify(seen.metadata["authorization"]) !== "\"Bearer a\"") return "authorization"
      const size = JSON.stringify(seen.metadata).length
      if (size > settings.server.max_metadata_bytes) return `${size} bytes`
    }
    return undefined
  })
]

export const all: ReadonlyArray<StreamRule> = [
  ...anyCall,

  rule("loading notices come once, in order, before the first token", (call) => {
    const { kinds, notices } = read(call)
    const mine = notices.filter((notice) => notice !== LOADING)
    const wanted = noticeTexts(call.traceId, call.plan.script.notices)
    if (mine.some((notice, n) => notice !== wanted[n])) return JSON.stringify(notices)
    return kinds.lastIndexOf("notice") > kinds.indexOf("token") && kinds.includes("token") ? kinds.join(" ") : undefined
  }),

  rule("a hold notice comes first, once, and only if somebody asked for it", ({ plan, ...call }, { settings }) => {
    const { kinds } = read({ plan, ...call })
    const at = kinds.lastIndexOf("hold notice")
    if (at > 0) return kinds.join(" ")
    return at === 0 && !plan.notice && settings.reload.hold_notice === "" ? "nobody asked for it" : undefined
  }),

  rule("index is gapless", ({ seen }) => {
    const wrong = seen.replies.findIndex(({ index }, n) => index !== n)
    return wrong < 0 ? undefined : `message ${wrong} has index ${seen.replies[wrong]?.index}`
  }),

  rule("nothing follows end_of_stream", (call) => {
    const { kinds } = read(call)
    const end = kinds.indexOf("end")
    return end < 0 || end === kinds.length - 1 ? undefined : kinds.join(" ")
  }),

  rule("OK means that the whole answer was read", (call, { settings }) => {
    if (call.seen.status?.code !== Code.OK) return undefined
    const { ended, tokens } = read(call)
    const { script } = call.plan
    const lenient = !settings.server.require_end_of_stream && ["unfinished", "empty"].includes(script.end)
    if (script.end === "empty" && lenient) return undefined
    if (!ended && !lenient) return "no end_of_stream"
    return tokens.length === script.tokens ? undefined : `${tokens.length} of ${script.tokens} tokens`
  }),

  rule("a status is one of gRPC, short, and with the code of its reason", (call) => {
    const { status } = call.seen
    if (status === undefined) return undefined
    if (status.code < 0 || status.code > 16) return `code ${status.code}`
    if (status.message.length > 512 || status.message.includes("/")) return status.message
    const reason = reasonOf(call)
    return reason === undefined || CODES[reason] === status.code ? undefined : `${reason} with code ${status.code}`
  }),

  rule("every end has its reason", (call, evidence) => {
    const { status } = call.seen
    if (status === undefined || status.code === Code.OK) return undefined
    const reason = reasonOf(call)
    if (reason !== undefined) {
      const why = unjustified(call, evidence, reason)
      return why === undefined ? undefined : `${reason}: ${why}`
    }
    const own = workerStatus(call.plan.script)
    return status.code === own.code && status.message === own.message
      ? undefined
      : `${status.code} "${status.message}", which the worker has not said`
  }),

  rule("a lost worker is told with what was delivered, and whether it is safe to ask again", (call) => {
    if (reasonOf(call) !== "worker_lost") return undefined
    const metadata = call.seen.status?.metadata ?? {}
    const { tokens } = read(call)
    if (metadata["cy-chunks-delivered"] !== String(tokens.length)) {
      return `${metadata["cy-chunks-delivered"]} told, ${tokens.length} read`
    }
    if (metadata["cy-safe-to-retry"] !== String(tokens.length === 0)) {
      return `${tokens.length} tokens, and safe to retry`
    }
    return (metadata["grpc-retry-pushback-ms"] === undefined) === tokens.length > 0 ? undefined : "the retry hint"
  }),

  rule(FAREWELL, (call, evidence) => {
    const reason = reasonOf(call)
    const attempt = last(call)
    if (reason === "worker_disconnected" && call.attempts.length === 0) {
      return refusedAfterGoodbye(overAt(call), evidence)
    }
    if (attempt?.seen.end?.fate !== "dismissed" || call.seen.status === undefined) return undefined
    // What a kill does: the end counts when end_of_stream was there, a stream without a token is sent again, and one
    // with tokens is told how many of them it has.
    const { code } = call.seen.status
    if (read(call).ended) return code === Code.OK ? undefined : `${code} after end_of_stream`
    return code === Code.UNAVAILABLE && reason === undefined ? "the worker's goodbye without a reason" : undefined
  }),

  rule("a refusal says when to come back", (call) => {
    const reason = reasonOf(call)
    if (reason === undefined || !HINTED.has(reason)) return undefined
    const metadata = call.seen.status?.metadata ?? {}
    return Number(metadata["grpc-retry-pushback-ms"]) > 0 && metadata["grpc-status-details-bin"] !== undefined
      ? undefined
      : `${reason} without a hint`
  }),

  rule("a refused stream has got nothing, and is refused at once", (call) => {
    const reason = reasonOf(call)
    if (reason === undefined || !AT_THE_DOOR.has(reason) || call.attempts.length > 0) return undefined
    if (reason === "draining") return undefined
    if (call.records.length > 0) return undefined
    const late = overAt(call) - call.seen.startedAt
    if (late > SLACK) return `${reason} after ${late} ms`
    return call.seen.headers === undefined ? undefined : "headers were sent"
  }),

  rule("without a worker and without hold_on_disconnect_secs nothing waits", (call, { plan, settings }) => {
    const { drainingBefore, stateBefore, stateStood } = call
    if (!stateStood || drainingBefore || plan.machine.yields > 0 || settings.reload.hold_on_disconnect_secs > 0) {
      return undefined
    }
    if (stateBefore._tag !== "Disconnected") return undefined
    const late = overAt(call) - call.seen.startedAt
    return late <= SLACK && call.attempts.length === 0 ? undefined : `lived for ${late} ms, opened while Disconnected`
  }),

  rule("who is ready serves or holds the stream that comes, and who is not serves none", (call, { plan, settings }) => {
    if (plan.machine.yields > 0) return undefined
    const { atOnce, attempts, heldBefore, readyBefore, seen, stateBefore } = call
    if (!readyBefore) {
      const answered = stateBefore._tag === "Connected" && seen.status?.code === Code.OK
      return atOnce === "sent" || answered ? "served by one who was not ready" : undefined
    }
    const reason = reasonOf(call)
    if (reason === "hold_full") {
      // There may be a place for one more stream, but not for the bytes of this one.
      const full = heldBefore >= settings.reload.max_held_streams
      return full && attempts.length === 0 && overAt(call) - seen.startedAt <= SLACK
        ? `ready, and ${reason}`
        : undefined
    }
    return atOnce === "ended" && reason !== undefined && REFUSALS.has(reason) ? `ready, and ${reason}` : undefined
  }),

  rule("nothing is sent to a worker after a token has been", (call) => {
    const first = call.attempts.findIndex((attempt) => sentTokens(attempt) > 0)
    return first < 0 || first === call.attempts.length - 1
      ? undefined
      : `attempt ${first + 1} of ${call.attempts.length} had sent ${sentTokens(call.attempts[first]!)} tokens`
  }),

  rule("a stream is sent again once", (call) => {
    const [record] = call.records
    if ((record?.replays ?? 0) > 1) return `${record?.replays} replays`
    const tries = call.attempts.length
    return tries <= 2 ? undefined : `${tries} attempts`
  }),

  rule("nothing is held past its limits", (call, { settings }) => {
    const [record] = call.records
    if (record === undefined) return undefined
    const { hold_on_disconnect_secs, hold_timeout_secs } = settings.reload
    const hold = Math.max(hold_on_disconnect_secs, hold_timeout_secs) * 1000
    const queue = settings.server.max_worker_streams === 0 ? 0 : settings.server.queue_timeout_secs * 1000
    // Once before its first attempt and once after it, each time into the queue again, and from there back.
    const rounds = call.attempts.length === 0 && queue === 0 ? 1 : 2
    const limit = rounds * (hold + queue * 2) + SLACK
    return record.held_ms <= limit ? undefined : `held for ${record.held_ms} ms, the limit is ${limit} ms`
  }),

  rule("a stream without a sign of life ends in time", (call, { settings }) => {
    const attempt = last(call)
    if (attempt === undefined || !isEager(call)) return undefined
    const { first_token_timeout_secs, stream_idle_timeout_secs } = settings.server
    const at = overAt(call)
    if (sentTokens(attempt) > 0) {
      const silent = at - (call.seen.replies.at(-1)?.at ?? at)
      return silent <= stream_idle_timeout_secs * 1000 + SLACK ? undefined : `silent for ${silent} ms`
    }
    const waited = Math.min(at, attempt.seen.end?.at ?? at) - attempt.seen.arrivedAt
    return waited <= first_token_timeout_secs * 1000 + SLACK ? undefined : `waited ${waited} ms for a token`
  }),

  rule("one usage record for each admitted stream", (call, { plan, records }) => {
    const count = call.records.length
    if (count > 1) return `${count} records`
    const reason = reasonOf(call)
    const atTheDoor = reason !== undefined && AT_THE_DOOR.has(reason)
    // While the circuit breaker looks at each stream, one may leave before its request was read.
    const unread = call.seen.left !== undefined && call.attempts.length === 0 &&
      records.some(({ trace_id }) => trace_id === "")
    return count === 1 || atTheDoor || unread || mayBeUnseen(call, plan) ? undefined : "no record"
  }),

  rule("the record counts what was delivered", (call) => {
    const [record] = call.records
    if (record === undefined || !isEager(call)) return undefined
    const { notices, tokens } = read(call)
    if (record.chunks !== tokens.length) return `${record.chunks} chunks, ${tokens.length} tokens read`
    if (record.notices !== notices.length) return `${record.notices} notices, ${notices.length} read`
    const own = call.seen.replies.filter(({ chunk }) => chunk.startsWith("[System]"))
    const bytes = call.seen.messages.slice(own.length).reduce((sum, message) => sum + message.length, 0)
    if (record.bytes !== bytes) return `${record.bytes} bytes, ${bytes} read`
    const byWorker = record.token_source === "worker"
    if (byWorker !== (call.plan.script.end === "usage" && record.outcome === "completed" && byWorker)) {
      return `the count is the worker's, and the outcome ${record.outcome}`
    }
    const wanted = byWorker ? reportedTokens(call.plan.script) : tokens.length
    return record.tokens_generated === wanted ? undefined : `${record.tokens_generated} counted, ${wanted} delivered`
  }),

  rule("the record of a slow reader counts no less than was read, and no more than was sent", (call) => {
    const [record] = call.records
    if (record === undefined || isEager(call)) return undefined
    const { tokens } = read(call)
    const sent = Math.max(0, ...call.attempts.map(sentTokens))
    return record.chunks >= tokens.length && record.chunks <= sent
      ? undefined
      : `${record.chunks} counted, ${tokens.length} read, ${sent} sent`
  }),

  rule("the record tells the end that the gateway saw", (call) => {
    const [record] = call.records
    const { status } = call.seen
    if (record === undefined || status === undefined) return undefined
    if (record.grpc_status !== status.code) return `${record.grpc_status} in the record, ${status.code} told`
    const reason = reasonOf(call)
    const wanted = status.code === Code.OK
      ? "completed"
      : reason === undefined
      ? "failed"
      : OUTCOMES[reason] ?? "refused"
    return record.outcome === wanted ? undefined : `outcome ${record.outcome}, not ${wanted}`
  }),

  rule(
    "a gateway that leaves when its time is over has missed its deadline, and one that leaves before has not",
    (call) => {
      const [record] = call.records
      if (record === undefined || call.seen.left === undefined) return undefined
      const lived = (call.seen.endedAt ?? 0) - call.seen.startedAt
      // A stalled machine may have given it more time than its own clock says.
      if (record.outcome === "cancelled") return isTimeOver(call, lived, -2) ? `cancelled after ${lived} ms` : undefined
      return record.outcome !== "deadline" || isTimeOver(call, lived) ? undefined : `deadline after ${lived} ms`
    }
  ),

  rule("the record of a gateway that left says completed after end_of_stream, and else that it left", (call) => {
    const [record] = call.records
    if (record === undefined || call.seen.left === undefined || !isEager(call)) return undefined
    const { ended } = read(call)
    if (record.outcome === "completed") return ended || call.plan.script.end !== "ok" ? undefined : "not completed"
    if (record.outcome === "deadline") return ended ? "deadline after end_of_stream" : undefined
    // The end had been decided, and was on its way, when the gateway left.
    const attempt = last(call)
    const decided = attempt === undefined || attempt.seen.end === undefined ||
      attempt.seen.end.fate !== "cancelled" || (call.seen.endedAt ?? 0) - attempt.seen.end.at > 0
    if (record.outcome === "cancelled") return ended ? "cancelled after end_of_stream" : undefined
    return decided ? undefined : record.outcome
  }),

  rule("the record knows whose stream it was", (call) => {
    const [record] = call.records
    if (record === undefined) return undefined
    const { prompt } = Messages.decodeRequest(call.request)
    if (record.model_id !== "qwen-7b" || record.tenant !== "t" || record.prompt_chars !== prompt.length) {
      return JSON.stringify(record)
    }
    if (Date.parse(record.ended_at) < Date.parse(record.started_at)) return "it ended before it began"
    return (record.ttft_ms === null) === (record.chunks === 0) ? undefined : `ttft_ms ${record.ttft_ms}`
  }),

  rule("a sidecar that drains takes no new streams", (call, { plan }) => {
    const { drainingBefore, seen, stateStood } = call
    if (!drainingBefore || !stateStood || plan.machine.yields > 0 || seen.left !== undefined) return undefined
    return reasonOf(call) === "draining" && call.attempts.length === 0 ? undefined : `${reasonOf(call)}`
  }),

  rule("at the drain's limit every stream ends at once", (call, { endedAt, plan }) => {
    const over = call.seen.handledAt ?? endedAt
    for (const { atMillis, what } of plan.operations) {
      if (what !== "abort" || call.seen.startedAt > atMillis - SLACK || over <= atMillis + SLACK) continue
      return `${over - atMillis} ms later`
    }
    return undefined
  })
]
