/** Makes a string of the bytes `from[start … end)`, one code unit a byte. */
export type BytesToString = (from: Uint8Array, start: number, end: number) => string

const fromCharCode = String.fromCharCode

/** Most code units in one call of `String.fromCharCode`: its arguments lie on the stack. */
const CHUNK = 4096

/** Strings of at most this many bytes are put together in fours, which is faster than gathering arguments. */
const SHORT = 12

/**
 * The bytes as a string, without anything that only some platforms have. Where there is a faster way for long strings
 * (in Node `Buffer.prototype.latin1Slice`), give that to the decoder.
 */
export const latin1: BytesToString = (from, start, end) => {
  let text = ""
  let at = start
  if (end - start > SHORT) {
    while (at < end) {
      const units: Array<number> = []
      for (const stop = Math.min(end, at + CHUNK); at < stop; at++) units.push(from[at] ?? 0)
      text += fromCharCode.apply(null, units)
    }
    return text
  }
  for (; at + 4 <= end; at += 4) {
    text += fromCharCode(from[at] ?? 0, from[at + 1] ?? 0, from[at + 2] ?? 0, from[at + 3] ?? 0)
  }
  for (; at < end; at++) text += fromCharCode(from[at] ?? 0)
  return text
}

/** The byte that stands for a code unit of `text`: itself, or "?" beyond latin1, so that nothing can turn into a line end. */
export const octet = (text: string, at: number): number => {
  const unit = text.charCodeAt(at)
  return unit > 0xff ? 0x3f : unit
}

/** Writes `text`, one byte a code unit. Answers where the bytes end. */
export const writeLatin1 = (text: string, into: Uint8Array, at: number): number => {
  for (let i = 0; i < text.length; i++) into[at++] = octet(text, i)
  return at
}
