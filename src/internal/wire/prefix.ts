/** Bytes before each message: compressed flag (1) and big-endian length (4); gRPC over HTTP/2, "Length-Prefixed-Message". */
export const PREFIX_BYTES = 5

/** The length that the prefix at `at` announces. */
export const lengthAt = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + 1] ?? 0) * 0x1000000) +
  (((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 8) | (bytes[at + 4] ?? 0))
