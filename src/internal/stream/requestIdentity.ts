import type { StreamIdentity } from "../../services/UsageRecord.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"
import { text, visit } from "../wire/protobuf.ts"

/** Bytes of a prompt that are counted in one turn of the event loop. */
const SLICE_BYTES = 512 * 1024

/** Code points of UTF-8 text: its bytes without continuation bytes. */
const codePoints = (bytes: Uint8Array, from: number, to: number): number => {
  let count = 0
  // By index: an iterator over a prompt of megabytes would hold up every other stream.
  for (let at = from; at < to; at++) {
    if (((bytes[at] ?? 0) & 0xc0) !== 0x80) count++
  }
  return count
}

/** Counts a prompt into `identity`: a long one slice by slice, so that it holds up nobody. */
const countPrompt = (identity: { promptChars: number }, prompt: Uint8Array, from = 0): void => {
  const to = Math.min(prompt.length, from + SLICE_BYTES)
  identity.promptChars += codePoints(prompt, from, to)
  if (to < prompt.length) setImmediate(() => countPrompt(identity, prompt, to))
}

/** Identifiers are for people and tables: a longer one is cut, so that no request makes a record large. */
const MAX_ID_BYTES = 256
const id = (bytes: Uint8Array): string => text(bytes.length > MAX_ID_BYTES ? bytes.subarray(0, MAX_ID_BYTES) : bytes)

/** The identity of a stream without a request. */
export const anonymous: StreamIdentity = {
  traceId: "",
  modelId: "",
  adapter: "",
  tenant: "",
  playerId: "",
  promptChars: 0,
  priority: 0
}

const empty = new Uint8Array()

/**
 * Who a stream is for, from its first StreamPredictRequest (wire contract). Looked at once, never re-encoded; fields
 * before the point at which the bytes stop to be protobuf are kept. `promptChars` of a long prompt grows to its value
 * within the next turns of the event loop.
 */
export const peekRequest = (message: Uint8Array): StreamIdentity => {
  let model: Uint8Array = empty
  let prompt: Uint8Array = empty
  let adapter: Uint8Array = empty
  let priority = 0
  let metadata: Uint8Array = empty
  visit(message, {
    bytes: (field, bytes) => {
      if (field === 1) model = bytes
      else if (field === 2) prompt = bytes
      else if (field === 3) adapter = bytes
      else if (field === 6) metadata = bytes
    },
    varint: (field, _, low32) => {
      if (field === 4) priority = low32
    }
  })
  let traceId: Uint8Array = empty
  let tenant: Uint8Array = empty
  let playerId: Uint8Array = empty
  visit(metadata, {
    bytes: (field, bytes) => {
      if (field === 1) traceId = bytes
      else if (field === 2) tenant = bytes
      else if (field === 3) playerId = bytes
    }
  })
  const identity = {
    traceId: id(traceId),
    modelId: id(model),
    adapter: id(adapter),
    tenant: id(tenant),
    playerId: id(playerId),
    promptChars: 0,
    priority
  }
  countPrompt(identity, prompt)
  return identity
}

/** The identity in a batch's first frame, which is not compressed. */
export const identityOf = (batch: FrameBatch): StreamIdentity =>
  batch[0] === 0 ? peekRequest(batch.subarray(PREFIX_BYTES, PREFIX_BYTES + lengthAt(batch, 0))) : anonymous
