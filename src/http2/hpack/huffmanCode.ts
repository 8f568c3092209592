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

/** Each symbol's code, in its low `CODE_BITS` bits. */
export const CODES: Uint32Array = codes(CODE_BITS)

function codes(bits: Uint8Array): Uint32Array {
  const all = new Uint32Array(bits.length)
  let code = 0
  for (let length = 1; length <= 30; length++) {
    code <<= 1
    for (let symbol = 0; symbol < bits.length; symbol++) {
      if (bits[symbol] === length) all[symbol] = code++
    }
  }
  return all
}
