import { randomFillSync } from "node:crypto"

/** Random bytes that are drawn at once: one call for a hundred and seventy ids. */
const POOL_BYTES = 4096

/** A source of random ids in lower-case hexadecimal. */
export const traceIds = (): (bytes: 8 | 16) => string => {
  const pool = Buffer.alloc(POOL_BYTES)
  let at = POOL_BYTES
  return (bytes) => {
    if (at + bytes > POOL_BYTES) {
      randomFillSync(pool)
      at = 0
    }
    at += bytes
    return pool.toString("hex", at - bytes, at)
  }
}
