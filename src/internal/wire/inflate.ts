import { gunzipSync, inflateSync } from "node:zlib"

/** Most bytes that a compressed message may open to when it is only looked at. */
const LIMIT_BYTES = 1024 * 1024

const attempt = (open: typeof gunzipSync, message: Uint8Array): Uint8Array | undefined => {
  try {
    return open(message, { maxOutputLength: LIMIT_BYTES })
  } catch {
    return undefined
  }
}

/**
 * Opens a compressed message to look into it; `undefined` when that is not possible. Both encodings that gRPC knows
 * announce themselves in their first bytes (RFC 1952 §2.3.1, RFC 1950 §2.2). Rare: identity is negotiated.
 */
export const inflate = (message: Uint8Array): Uint8Array | undefined =>
  message[0] === 0x1f && message[1] === 0x8b ? attempt(gunzipSync, message) : attempt(inflateSync, message)
