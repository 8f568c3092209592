import type { FrameBatch } from "../../services/Wire.ts"
import { builtins } from "../builtins.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"

/** The serializer of a method that carries bytes. */
export const identity = (bytes: Buffer): Buffer => bytes

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/**
 * The messages of a batch as grpc-js takes them. grpc-js sets the compressed flag by itself, so a message that came
 * compressed from another wire has to be opened here; `undefined` when one cannot be.
 */
export const messagesOf = (
  batch: FrameBatch,
  encoding: string | undefined,
  limit: number
): ReadonlyArray<Buffer> | undefined => {
  const out: Array<Buffer> = []
  for (let at = 0; at + PREFIX_BYTES <= batch.length;) {
    const end = at + PREFIX_BYTES + lengthAt(batch, at)
    const message = batch.subarray(at + PREFIX_BYTES, end)
    const opened = batch[at] === 0 ? asBuffer(message) : open(message, encoding, limit)
    if (opened === undefined) return undefined
    out.push(opened)
    at = end
  }
  return out
}

const open = (message: Uint8Array, encoding: string | undefined, limit: number): Buffer | undefined => {
  try {
    if (encoding === "gzip") return builtins.zlib.gunzipSync(message, { maxOutputLength: limit })
    if (encoding === "deflate") return builtins.zlib.inflateSync(message, { maxOutputLength: limit })
  } catch {
    // Not of its encoding, or over the limit.
  }
  return undefined
}
