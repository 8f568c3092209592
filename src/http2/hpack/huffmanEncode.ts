import { CODE_BITS, CODES } from "./huffmanCode.ts"
import { octet } from "./latin1.ts"

/** How many bytes `text` has when it is Huffman-coded (RFC 7541 §5.2). */
export const huffmanLength = (text: string): number => {
  let bits = 0
  for (let i = 0; i < text.length; i++) bits += CODE_BITS[octet(text, i)] ?? 0
  return (bits + 7) >>> 3
}

/** Writes `text` Huffman-coded at `at`, padded with ones, the beginning of EOS. Answers where the bytes end. */
export const huffmanEncode = (text: string, into: Uint8Array, at: number): number => {
  // At most seven bits wait while a code of up to 30 is added: more than 32 together, so a code is added in two halves.
  let waiting = 0
  let bits = 0
  for (let i = 0; i < text.length; i++) {
    const symbol = octet(text, i)
    const code = CODES[symbol] ?? 0
    let left = CODE_BITS[symbol] ?? 0
    while (left > 0) {
      const taken = left > 16 ? 16 : left
      left -= taken
      waiting = (waiting << taken) | ((code >>> left) & ((1 << taken) - 1))
      bits += taken
      while (bits >= 8) {
        bits -= 8
        into[at++] = waiting >>> bits
      }
      waiting &= (1 << bits) - 1
    }
  }
  if (bits > 0) into[at++] = (waiting << (8 - bits)) | (0xff >>> bits)
  return at
}
