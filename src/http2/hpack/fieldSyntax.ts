/**
 * What HTTP/2 lets stand in a field (RFC 9113 §8.2.1). A field that breaks it is decoded all the same, for the table must
 * follow; the message that carries it is malformed. The decoder asks once a literal and keeps the answer in its table.
 */

const NAME_OCTETS = octets((octet) => octet > 0x20 && octet < 0x7f && (octet < 0x41 || octet > 0x5a) && octet !== 0x3a)
const VALUE_OCTETS = octets((octet) => octet !== 0 && octet !== 0x0a && octet !== 0x0d)
const COLON = 0x3a

function octets(allowed: (octet: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, octet) => allowed(octet) ? 1 : 0)
}

/** Visible ASCII without upper case, and no colon but as the first octet (of a pseudo-header field); not empty. */
export const isFieldName = (bytes: Uint8Array, start: number, end: number): boolean => {
  let at = start
  if (at < end && bytes[at] === COLON) at++
  if (at === end) return false
  for (; at < end; at++) {
    if (NAME_OCTETS[bytes[at] ?? 0] === 0) return false
  }
  return true
}

/** No NUL, LF or CR, and no space or tab at either end. */
export const isFieldValue = (bytes: Uint8Array, start: number, end: number): boolean => {
  if (start === end) return true
  if (isBlank(bytes[start]) || isBlank(bytes[end - 1])) return false
  for (let at = start; at < end; at++) {
    if (VALUE_OCTETS[bytes[at] ?? 0] === 0) return false
  }
  return true
}

const isBlank = (octet: number | undefined): boolean => octet === 0x20 || octet === 0x09
