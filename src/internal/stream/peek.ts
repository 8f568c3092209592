import { noReplies, type ReplyCounts } from "../../services/UsageMeter.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"
import { MAX_FIELDS } from "../wire/protobuf.ts"

/** How frames are looked into. */
export interface PeekOptions {
  /** `[metering] notice_prefixes` in UTF-8. */
  readonly noticePrefixes: ReadonlyArray<Uint8Array>
  /** Opens the message of a frame with the compressed flag; `undefined` when that is not possible. */
  readonly inflate?: ((message: Uint8Array) => Uint8Array | undefined) | undefined
}

/** More text than any token of the usual vocabularies has (their longest are runs of 128 spaces). Bytes of UTF-8. */
const mostTokenBytes = 256

const startsWith = (bytes: Uint8Array, from: number, length: number, prefix: Uint8Array): boolean => {
  if (length < prefix.length) return false
  for (let i = 0; i < prefix.length; i++) {
    if (bytes[from + i] !== prefix[i]) return false
  }
  return true
}

/**
 * Looks at the StreamPredictResponse in `bytes[at, end)`: field 2 (chunk) and field 3 (end_of_stream) matter, all others
 * are stepped over (wire contract; protobuf.dev, "Encoding").
 */
const peekMessage = (
  bytes: Uint8Array,
  start: number,
  end: number,
  counts: ReplyCounts,
  options: PeekOptions
): void => {
  let at = start
  let left = MAX_FIELDS
  let chunkAt = 0
  let chunkLength = 0
  let ended = false
  while (at < end) {
    if (left-- === 0) {
      counts.malformed++
      return
    }
    let tag = bytes[at++] ?? 0
    if (tag >= 0x80) {
      // Field numbers above 15: none of ours, but a newer worker may have them.
      let shift = 7
      let byte = 0x80
      tag &= 0x7f
      while (byte >= 0x80) {
        if (at >= end || shift > 28) {
          counts.malformed++
          return
        }
        byte = bytes[at++] ?? 0
        tag |= (byte & 0x7f) << shift
        shift += 7
      }
    }
    const wire = tag & 7
    if (tag >>> 3 === 0) {
      counts.malformed++
      return
    }
    if (wire === 5) at += 4
    else if (wire === 1) at += 8
    else if (wire === 0 || wire === 2) {
      // Nearly always one byte; the rest of a longer varint is arithmetic of doubles.
      let byte = at < end ? bytes[at++] ?? 0 : 0x80
      let value = byte & 0x7f
      let factor = 128
      while (byte >= 0x80) {
        if (at >= end || factor > 2 ** 63) {
          counts.malformed++
          return
        }
        byte = bytes[at++] ?? 0
        value += (byte & 0x7f) * factor
        factor *= 128
      }
      if (wire === 2) {
        if (tag === 18) {
          chunkAt = at
          chunkLength = value
        }
        at += value
      } else if (tag === 24) ended = value !== 0
    } else {
      counts.malformed++
      return
    }
  }
  if (at !== end) {
    counts.malformed++
    return
  }
  if (ended) counts.ended = true
  if (chunkLength === 0) return
  for (const prefix of options.noticePrefixes) {
    if (startsWith(bytes, chunkAt, chunkLength, prefix)) {
      counts.notices++
      return
    }
  }
  counts.chunks++
  if (chunkLength > mostTokenBytes) counts.largeChunks++
}

/** Counts what is in a batch into `counts`. */
export const peekBatch = (batch: FrameBatch, counts: ReplyCounts, options: PeekOptions): void => {
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const length = lengthAt(batch, at)
    const start = at + PREFIX_BYTES
    counts.frames++
    counts.bytes += length
    if (batch[at] === 0) peekMessage(batch, start, start + length, counts, options)
    else {
      const message = options.inflate?.(batch.subarray(start, start + length))
      if (message === undefined) counts.malformed++
      else peekMessage(message, 0, message.length, counts, options)
    }
    at = start + length
  }
}

/** Where a batch's first token chunk stands, as an offset into the batch; its length when there is none. */
export const firstTokenAt = (batch: FrameBatch, options: PeekOptions): number => {
  const counts = noReplies()
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const end = at + PREFIX_BYTES + lengthAt(batch, at)
    peekBatch(batch.subarray(at, end), counts, options)
    if (counts.chunks > 0) return at
    at = end
  }
  return batch.length
}
