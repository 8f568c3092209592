/** The symbol that ends a string; it must never be sent whole (RFC 7541 §5.2). */
export const EOS = 256

/**
 * The length in bits of each symbol's code, one base-36 digit a symbol, 0–255 and EOS (RFC 7541, Appendix B). The code is
 * canonical: codes of one length follow each other in the order of their symbols, so the lengths alone give all of it.
 */
const LENGTHS = "dnsssssssoussussssssssusssssssss" + //
  "6aacd68baa8b8666555666666678f6ca" + // " " to "?"
  "d67777777777777777777777878djde6" + // "@" to "_"
  "f56565666577666567655677777fbeds" + // "`" to 0x7f
  "kmkkmmmnmnnnnnonoomnonnnnlmnmnno" +
  "mlkmmnnlnmmolmnnllmlnmnnkmmmnmmn" +
  "qqkjmnmpqqqrrqopjlqrrqrollqqsrrr" +
  "koklmllnmmppooqnqrqqrrrrrsrrrrrq" +
  "u"

/** Bits of each symbol's code: 5 to 30. */
export const CODE_BITS: Uint8Array = Uint8Array.from(LENGTHS, (digit) => Number.parseInt(digit, 36))

/** The symbols in the order of their codes: by length, those of one length by number. */
export const SYMBOLS: ReadonlyArray<number> = Array.from(CODE_BITS.keys()).sort(
  (one, other) => (CODE_BITS[one] ?? 0) - (CODE_BITS[other] ?? 0) || one - other
)

/** Each symbol's code, in its low `CODE_BITS` bits. */
export const CODES: Uint32Array = codes()

function codes(): Uint32Array {
  const all = new Uint32Array(SYMBOLS.length)
  let code = 0
  let length = 0
  for (const symbol of SYMBOLS) {
    const bits = CODE_BITS[symbol] ?? 0
    code <<= bits - length
    length = bits
    all[symbol] = code++
  }
  return all
}
