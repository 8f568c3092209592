import type { FrameBatch } from "../../services/Wire.ts"

/** Bytes before each message: compressed flag (1) and big-endian length (4); gRPC over HTTP/2, "Length-Prefixed-Message". */
export const PREFIX_BYTES = 5

/** The beginning of a frame is copied up to this size, and kept as a view beyond. */
const COPIED_BYTES = 4096

/** The length that the prefix at `at` announces. */
export const lengthAt = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + 1] ?? 0) * 0x1000000) +
  (((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0))

/** One message with its prefix. */
export const frame = (payload: Uint8Array, compressed = false): FrameBatch => {
  const out = new Uint8Array(PREFIX_BYTES + payload.length)
  out[0] = compressed ? 1 : 0
  new DataView(out.buffer).setUint32(1, payload.length)
  out.set(payload, PREFIX_BYTES)
  return out
}

/** The messages of a batch as views, without their prefixes. */
export const payloads = (batch: FrameBatch): Array<Uint8Array> => {
  const out: Array<Uint8Array> = []
  let at = 0
  while (at + PREFIX_BYTES <= batch.length) {
    const end = at + PREFIX_BYTES + lengthAt(batch, at)
    out.push(batch.subarray(at + PREFIX_BYTES, end))
    at = end
  }
  return out
}

/** Several byte arrays as one; the array itself when there is only one. */
export const concat = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const [first] = parts
  if (first !== undefined && parts.length === 1) return first
  let size = 0
  for (const part of parts) size += part.length
  const out = new Uint8Array(size)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

/**
 * Cuts whole frames from DATA as it comes. A chunk that ends with a frame (the ordinary case) is passed on as it is,
 * without a copy; a message split over many chunks is put together once, when its last byte is there.
 */
export class FrameCutter {
  readonly #limit: number
  #parts: Array<Uint8Array> = []
  #have = 0
  /** Bytes that complete the first pending frame; 0 while its prefix is not whole. */
  #need = 0
  /** Length announced by a frame over the limit, once one was seen; nothing is cut after it. */
  oversize: number | undefined

  /** `limit`: largest allowed message in bytes. */
  constructor(limit: number) {
    this.#limit = limit
  }

  /** Bytes of a frame that has begun and is not whole. */
  get pending(): number {
    return this.#have
  }

  /** The whole frames that `chunk` completes; `undefined` when there is none yet. */
  push(chunk: Uint8Array): FrameBatch | undefined {
    if (this.#have === 0) return this.#cut(chunk)
    this.#parts.push(chunk)
    this.#have += chunk.length
    if (this.#have < (this.#need === 0 ? PREFIX_BYTES : this.#need)) return undefined
    const joined = concat(this.#parts)
    this.#parts = []
    this.#have = 0
    this.#need = 0
    return this.#cut(joined)
  }

  #cut(bytes: Uint8Array): FrameBatch | undefined {
    if (this.oversize !== undefined) return undefined
    const size = bytes.length
    let at = 0
    let need = 0
    while (size - at >= PREFIX_BYTES) {
      const length = lengthAt(bytes, at)
      if (length > this.#limit) {
        this.oversize = length
        return at === 0 ? undefined : bytes.subarray(0, at)
      }
      if (size - at < PREFIX_BYTES + length) {
        need = PREFIX_BYTES + length
        break
      }
      at += PREFIX_BYTES + length
    }
    if (at === size) return size === 0 ? undefined : bytes
    const rest = at === 0 ? bytes : bytes.subarray(at)
    // It may wait long (a window that ended here), and a view keeps everything that came in the same read.
    this.#parts = [rest.length < COPIED_BYTES ? Uint8Array.from(rest) : rest]
    this.#have = size - at
    this.#need = need
    return at === 0 ? undefined : bytes.subarray(0, at)
  }
}
