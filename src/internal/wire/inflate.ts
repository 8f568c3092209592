import { builtins } from "../builtins.ts"

/** Most bytes of a compressed message that is looked into, and most bytes that it may open to. */
const MAX_IN_BYTES = 256 * 1024
const MAX_OUT_BYTES = 1024 * 1024
/** What opening costs beside the bytes, in bytes: a message of a few bytes takes some ten microseconds too. */
const FIXED_COST_BYTES = 4096
/** What may be opened at once (some milliseconds of the event loop), and how fast that comes back. */
const BURST_BYTES = 1_310_720
const BYTES_PER_MILLI = 32 * 1024

const attempt = (opener: "gunzipSync" | "inflateSync", message: Uint8Array): Uint8Array | undefined => {
  try {
    return builtins.zlib[opener](message, { maxOutputLength: MAX_OUT_BYTES })
  } catch {
    return undefined
  }
}

/** What {@link inflater} is told. */
export interface InflaterOptions {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** A message was not opened, because too much was opened just before. */
  readonly onLimit: () => void
}

/**
 * Opens compressed messages to look into them, on the event loop; `undefined` when that is not possible, or would hold
 * up everybody else: a small message can open to a thousand times its size. All messages share one budget of bytes.
 *
 * Both encodings that gRPC knows announce themselves in their first bytes (RFC 1952 §2.3.1, RFC 1950 §2.2). Rare:
 * identity is negotiated.
 */
export const inflater = (options: InflaterOptions): (message: Uint8Array) => Uint8Array | undefined => {
  let budget = BURST_BYTES
  let filledAt = options.now()
  return (message) => {
    if (message.length > MAX_IN_BYTES) return undefined
    const now = options.now()
    budget = Math.min(BURST_BYTES, budget + (now - filledAt) * BYTES_PER_MILLI)
    filledAt = now
    if (budget <= 0) {
      options.onLimit()
      return undefined
    }
    const opened = message[0] === 0x1f && message[1] === 0x8b
      ? attempt("gunzipSync", message)
      : attempt("inflateSync", message)
    // One that fails may have been opened up to the limit before.
    budget -= FIXED_COST_BYTES + message.length + (opened?.length ?? MAX_OUT_BYTES)
    return opened
  }
}
