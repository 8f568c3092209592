/** The most octets of an integer that we write or accept: one with the prefix and four of seven bits (RFC 7541 §5.1). */
export const MAX_INTEGER_OCTETS = 5

/** Writes `value`, below 2^28, with a prefix of `mask` under the pattern `bits`. Answers where its octets end. */
export const writeInteger = (value: number, bits: number, mask: number, into: Uint8Array, at: number): number => {
  if (value < mask) {
    into[at] = bits | value
    return at + 1
  }
  into[at++] = bits | mask
  let rest = value - mask
  for (; rest >= 0x80; rest >>>= 7) into[at++] = (rest & 0x7f) | 0x80
  into[at] = rest
  return at + 1
}
