import { concat } from "./frames.ts"
import { visit, Writer } from "./protobuf.ts"

/** StreamPredictResponse (wire contract): 4 index. */
const INDEX_FIELD = 4

/** The `index` of a StreamPredictResponse; `undefined`: not a valid message. */
export const indexOf = (message: Uint8Array): number | undefined => {
  let index = 0
  const valid = visit(message, { varint: (field, value) => void (field === INDEX_FIELD && (index = value)) })
  return valid ? index : undefined
}

/**
 * The message with another `index`: the new value is appended, since the last one of a field counts (protobuf.dev,
 * "Last One Wins"); all other bytes stay as they came.
 */
export const withIndex = (message: Uint8Array, index: number): Uint8Array =>
  concat([message, new Writer().varint(INDEX_FIELD, index).finish()])
