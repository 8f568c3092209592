/**
 * A header block that cannot be decoded (RFC 7541 §5, §6). The connection must end with COMPRESSION_ERROR
 * (RFC 9113 §4.3): from here on the two tables may differ, so no later block can be trusted either.
 */
export class HpackError extends Error {
  override readonly name = "HpackError"
}
