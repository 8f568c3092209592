import type { StreamIdentity } from "../../services/UsageRecord.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"
import { text, visit } from "../wire/protobuf.ts"
import type { PeekOptions } from "./peek.ts"

/** Code points of UTF-8 text: its bytes without continuation bytes. */
const codePoints = (bytes: Uint8Array): number => {
  let count = 0
  // By index: an iterator over a prompt of megabytes would hold up every other stream.
  for (let at = 0; at < bytes.length; at++) {
    if (((bytes[at] ?? 0) & 0xc0) !== 0x80) count++
  }
  return count
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

/**
 * Who a stream is for, from its first StreamPredictRequest (wire contract). Looked at once, never re-encoded; fields
 * before the point at which the bytes stop to be protobuf are kept.
 */
export const peekRequest = (message: Uint8Array): StreamIdentity => {
  const identity = { ...anonymous }
  visit(message, {
    bytes: (field, bytes) => {
      if (field === 1) identity.modelId = id(bytes)
      else if (field === 2) identity.promptChars = codePoints(bytes)
      else if (field === 3) identity.adapter = id(bytes)
      else if (field === 6) {
        visit(bytes, {
          bytes: (field, bytes) => {
            if (field === 1) identity.traceId = id(bytes)
            else if (field === 2) identity.tenant = id(bytes)
            else if (field === 3) identity.playerId = id(bytes)
          }
        })
      }
    },
    varint: (field, _, low32) => {
      if (field === 4) identity.priority = low32
    }
  })
  return identity
}

/** The identity in a batch's first frame. */
export const identityOf = (batch: FrameBatch, inflate: PeekOptions["inflate"]): StreamIdentity => {
  const message = batch.subarray(PREFIX_BYTES, PREFIX_BYTES + lengthAt(batch, 0))
  const plain = batch[0] === 0 ? message : inflate?.(message)
  return plain === undefined ? anonymous : peekRequest(plain)
}
