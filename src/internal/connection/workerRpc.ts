import { Data, Effect } from "effect"
import { Code, codeName } from "../../services/Status.ts"
import { type CallEnd, noMetadata } from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import type { WorkerHealth } from "../../services/WorkerConnection.ts"
import { HEALTH_PATH } from "../wire/aiContract.ts"
import { frame, payloads } from "../wire/frames.ts"
import { type MapBounds, stringMapOf, text, visit, Writer } from "../wire/protobuf.ts"
import { endOfReplies } from "../wire/pulledCall.ts"

/** A worker's words in a line of the log, and on the status page. */
const MAX_DETAIL_LENGTH = 300

/** A unary call that did not end with OK and a message. */
export class UnaryError extends Data.TaggedError("UnaryError")<{ readonly end: CallEnd; readonly detail: string }> {}

/**
 * One unary call over a link: the message of the answer. Interrupting it cancels the call. `timeoutMillis` is only told
 * to the worker; the limit is the caller's to keep.
 */
export const unary = (
  link: WorkerLink,
  path: string,
  request: Uint8Array,
  timeoutMillis: number
): Effect.Effect<Uint8Array, UnaryError> =>
  Effect.scoped(Effect.flatMap(link.open({ path, metadata: noMetadata, timeoutMillis }), (call) => {
    call.write(frame(request))
    call.halfClose()
    let answer: Uint8Array | undefined
    const next: Effect.Effect<Uint8Array, UnaryError> = Effect.matchEffect(call.replies, {
      onSuccess: ([batch]) => {
        answer ??= payloads(batch)[0]
        return next
      },
      onFailure: (over) => {
        const end = endOfReplies(over)
        const { code, message } = end.status
        const isOk = end.reason === "status" && code === Code.OK
        if (isOk && answer !== undefined) return Effect.succeed(answer)
        const detail = isOk
          ? "an answer without a message"
          : `${codeName(code)}${message === "" ? "" : `: ${message.slice(0, MAX_DETAIL_LENGTH)}`}`
        return Effect.fail(new UnaryError({ end, detail }))
      }
    })
    return next
  }))

/** WorkerHealthRequest (wire contract): 1 trace_id. */
export const encodeHealthRequest = (traceId: string): Uint8Array =>
  traceId === "" ? new Uint8Array() : new Writer().string(1, traceId).finish()

/** A worker's figures are kept and shown, a command's words are looked up: far more than either has. */
const MAX_ENTRIES = 256
const MAP_BOUNDS: MapBounds = { keyBytes: 128, valueBytes: 1024 }

/**
 * WorkerHealthResponse (wire contract): 1 healthy, 2 metrics. `undefined`: not a valid message. Of the metrics the first
 * 256 are kept.
 */
export const decodeHealthResponse = (message: Uint8Array): WorkerHealth | undefined => {
  let healthy = false
  const entries: Array<Uint8Array> = []
  const valid = visit(message, {
    varint: (field, value) => {
      if (field === 1) healthy = value !== 0
    },
    bytes: (field, value) => {
      if (field === 2 && entries.length < MAX_ENTRIES) entries.push(value)
    }
  })
  return valid ? { healthy, metrics: { ...stringMapOf(entries, MAP_BOUNDS) } } : undefined
}

/** WorkerHealthResponse as bytes. */
export const encodeHealthResponse = (health: WorkerHealth): Uint8Array => {
  const writer = new Writer()
  if (health.healthy) writer.varint(1, 1)
  return writer.stringMap(2, health.metrics).finish()
}

/** ControlMessage (wire contract): 1 trace_id, 2 command, 3 payload. */
export interface ControlMessage {
  readonly traceId: string
  readonly command: string
  readonly payload: Readonly<Record<string, string>>
}

/** ControlMessage as bytes. */
export const encodeControl = (message: ControlMessage): Uint8Array => {
  const writer = new Writer()
  if (message.traceId !== "") writer.string(1, message.traceId)
  if (message.command !== "") writer.string(2, message.command)
  return writer.stringMap(3, message.payload).finish()
}

/** A ControlMessage from bytes. `undefined`: not a valid message. Of the payload the first 256 entries are kept. */
export const decodeControl = (bytes: Uint8Array): ControlMessage | undefined => {
  let traceId: Uint8Array = new Uint8Array()
  let command: Uint8Array = new Uint8Array()
  const entries: Array<Uint8Array> = []
  const valid = visit(bytes, {
    bytes: (field, value) => {
      if (field === 1) traceId = value
      else if (field === 2) command = value
      else if (field === 3 && entries.length < MAX_ENTRIES) entries.push(value)
    }
  })
  return valid
    ? { traceId: text(traceId), command: text(command), payload: { ...stringMapOf(entries, MAP_BOUNDS) } }
    : undefined
}

/** Health: the worker's word. Fails when the call fails or its answer is not a WorkerHealthResponse. */
export const health = (
  link: WorkerLink,
  traceId: string,
  timeoutMillis: number
): Effect.Effect<WorkerHealth, UnaryError> =>
  Effect.flatMap(unary(link, HEALTH_PATH, encodeHealthRequest(traceId), timeoutMillis), (message) => {
    const answer = decodeHealthResponse(message)
    return answer === undefined
      ? Effect.fail(
        new UnaryError({
          end: { reason: "status", status: { code: Code.INTERNAL, message: "", metadata: noMetadata } },
          detail: "an answer that is not a WorkerHealthResponse"
        })
      )
      : Effect.succeed(answer)
  })

/** No reload is expected to take longer; a larger number could not be written as a date. */
export const MAX_ETA_SECS = 30 * 24 * 3600

/** What a Health answer says about a reload: metrics `status = reloading`, optional `eta_seconds`. */
export const reloadOf = (answer: WorkerHealth): { readonly etaMillis: number | undefined } | undefined => {
  if (answer.metrics["status"] !== "reloading") return undefined
  const eta = Number.parseFloat(answer.metrics["eta_seconds"] ?? "")
  return { etaMillis: Number.isFinite(eta) && eta >= 0 ? Math.min(eta, MAX_ETA_SECS) * 1000 : undefined }
}
