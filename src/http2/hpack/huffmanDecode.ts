import { CODE_BITS, EOS, SYMBOLS } from "./huffmanCode.ts"

/** Bits 0–8 of a step: the next state. */
const STATE = 0x1ff
/** A symbol ended; it stands in the bits above `SYMBOL_SHIFT`. */
const ENDS = 0x200
/** The string may stop after this step: what is left is a beginning of EOS, less than eight bits long. */
const ACCEPTS = 0x400
/** The code of EOS, which is an error in a string. */
const FAILS = 0x800
const SYMBOL_SHIFT = 16
/** Inner nodes of the code's tree: one less than there are symbols. */
const STATES = EOS

/**
 * A step of the decoder takes four bits: no code is shorter than five, so it ends at most one symbol. Entry
 * `state * 16 + bits` holds the next state, and, where a symbol ended, the symbol and `ENDS`. A state is an inner node of
 * the code's tree; 0 is its root.
 */
const STEPS: Uint32Array = buildSteps()

/**
 * Decodes the Huffman-coded string in `from[start … end)` (RFC 7541 §5.2) into `to`, from its beginning. `to` needs room
 * for `decodedBound(end - start)` bytes. Answers how many bytes there are, or −1 for bytes that are not of the code: EOS
 * inside, padding of eight bits or more, padding that is not of ones.
 */
export const huffmanDecode = (from: Uint8Array, start: number, end: number, to: Uint8Array): number => {
  let step = ACCEPTS
  let written = 0
  for (let at = start; at < end; at++) {
    const byte = from[at] ?? 0
    step = STEPS[(step & STATE) * 16 + (byte >> 4)] ?? FAILS
    if ((step & ENDS) !== 0) to[written++] = step >> SYMBOL_SHIFT
    if ((step & FAILS) !== 0) return -1
    step = STEPS[(step & STATE) * 16 + (byte & 15)] ?? FAILS
    if ((step & ENDS) !== 0) to[written++] = step >> SYMBOL_SHIFT
    if ((step & FAILS) !== 0) return -1
  }
  return (step & ACCEPTS) === 0 ? -1 : written
}

/** The most bytes that `length` Huffman-coded bytes can become: the shortest code has five bits. */
export const decodedBound = (length: number): number => Math.floor(length * 8 / 5)

/**
 * The steps of one bit. The code is canonical: row by row, from left to right, the leaves of a row of the tree stand before its
 * inner nodes, and hold the symbols in the order of their lengths.
 */
function stepsOfOneBit(): Uint32Array {
  const steps = new Uint32Array(STATES * 2)
  const depths = new Uint8Array(STATES)
  let leaves = 0
  let inner = 1
  for (let child = 0; child < steps.length; child++) {
    const depth = (depths[child >> 1] ?? 0) + 1
    const symbol = SYMBOLS[leaves] ?? EOS
    if (CODE_BITS[symbol] === depth) {
      leaves++
      steps[child] = symbol === EOS ? FAILS : ENDS | (symbol << SYMBOL_SHIFT)
    } else {
      depths[inner] = depth
      steps[child] = inner++
    }
  }
  // A string may stop after fewer than eight ones since the root (RFC 7541 §5.2).
  const accepting = new Set([0])
  for (let ones = 1, node = 0; ones < 8; ones++) accepting.add(node = steps[node * 2 + 1] ?? 0)
  return steps.map((step) => accepting.has(step & STATE) ? step | ACCEPTS : step)
}

/** Steps of twice as many bits: two in a row, of which one at most ends a symbol. */
function twice(steps: Uint32Array): Uint32Array {
  const width = steps.length / STATES
  return new Uint32Array(steps.length * width).map((_, at) => {
    const first = steps[Math.floor(at / width)] ?? FAILS
    const second = steps[(first & STATE) * width + at % width] ?? FAILS
    return second | (first & ~(STATE | ACCEPTS))
  })
}

// Few rounds, and no long loop: V8 would load its optimizing compiler for one at the start, 5 MiB of code that stays resident.
function buildSteps(): Uint32Array {
  return twice(twice(stepsOfOneBit()))
}
