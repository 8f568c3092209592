import type { FrameBatch } from "../../services/Wire.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"

/**
 * What was seen in the reply frames of one stream. Plain counters, written per frame: an ordinary token costs a walk
 * over its few fields and no allocation.
 */
export class ReplyPeek {
  /** Frames of any kind. */
  frames = 0
  /** Bytes of messages, without prefixes. */
  bytes = 0
  /** Non-empty chunks that are not notices. */
  tokens = 0
  notices = 0
  /** Frames that are not valid protobuf: passed on, counted nowhere else. */
  malformed = 0
  /** A frame with `end_of_stream = true` came. */
  ended = false
}

/** How frames are looked into. */
export interface PeekOptions {
  /** `[metering] notice_prefixes` in UTF-8. */
  readonly noticePrefixes: ReadonlyArray<Uint8Array>
  /** Opens the message of a frame with the compressed flag; `undefined` when that is not possible. */
  readonly inflate?: ((message: Uint8Array) => Uint8Array | undefined) | undefined
}

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
const peekMessage = (bytes: Uint8Array, start: number, end: number, peek: ReplyPeek, options: PeekOptions): void => {
  let at = start
  let chunkAt = 0
  let chunkLength = 0
  let ended = false
  while (at < end) {
    let tag = bytes[at++] ?? 0
    if (tag >= 0x80) {
      // Field numbers above 15: none of ours, but a newer worker may have them.
      let shift = 7
      let byte = 0x80
      tag &= 0x7f
      while (byte >= 0x80) {
        if (at >= end || shift > 28) {
          peek.malformed++
          return
        }
        byte = bytes[at++] ?? 0
        tag |= (byte & 0x7f) << shift
        shift += 7
      }
    }
    const wire = tag & 7
    if (tag >>> 3 === 0) {
      peek.malformed++
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
          peek.malformed++
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
      peek.malformed++
      return
    }
  }
  if (at !== end) {
    peek.malformed++
    return
  }
  if (ended) peek.ended = true
  if (chunkLength === 0) return
  for (const prefix of options.noticePrefixes) {
    if (startsWith(bytes, chunkAt, chunkLength, prefix)) {
      peek.notices++
      return
    }
  }
  peek.tokens++
}

/** Counts what is in a batch into `peek`. */
export const peekBatch = (batch: FrameBatch, peek: ReplyPeek, options: PeekOptions): void => {
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const length = lengthAt(batch, at)
    const start = at + PREFIX_BYTES
    peek.frames++
    peek.bytes += length
    if (batch[at] === 0) peekMessage(batch, start, start + length, peek, options)
    else {
      const message = options.inflate?.(batch.subarray(start, start + length))
      if (message === undefined) peek.malformed++
      else peekMessage(message, 0, message.length, peek, options)
    }
    at = start + length
  }
}

/** Where a batch's first token chunk stands, as an offset into the batch; its length when there is none. */
export const firstTokenAt = (batch: FrameBatch, options: PeekOptions): number => {
  const peek = new ReplyPeek()
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const end = at + PREFIX_BYTES + lengthAt(batch, at)
    peekBatch(batch.subarray(at, end), peek, options)
    if (peek.tokens > 0) return at
    at = end
  }
  return batch.length
}
