import { CODE_BITS, CODES, EOS } from "./huffmanCode.ts"

/** Bits 0–8 of a step: the next state. */
const STATE = 0x1ff
/** A symbol ended; it stands in the bits above `SYMBOL_SHIFT`. */
const ENDS = 0x200
/** The string may stop after this step: what is left is a beginning of EOS, less than eight bits long. */
const ACCEPTS = 0x400
/** The code of EOS, which is an error in a string. */
const FAILS = 0x800
const SYMBOL_SHIFT = 16

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

/** The tree of the code: two children a node; a child ≥ 0 is an inner node, a symbol is stored as `-1 - symbol`. */
function buildTree(): Array<[number, number]> {
  const empty = (): [number, number] => [0, 0]
  const nodes = [empty()]
  for (let symbol = 0; symbol <= EOS; symbol++) {
    const bits = CODE_BITS[symbol] ?? 0
    const code = CODES[symbol] ?? 0
    let node = nodes[0] ?? empty()
    for (let bit = bits - 1; bit > 0; bit--) {
      const side = (code >>> bit) & 1 ? 1 : 0
      if (node[side] === 0) node[side] = nodes.push(empty()) - 1
      node = nodes[node[side]] ?? node
    }
    node[code & 1 ? 1 : 0] = -1 - symbol
  }
  return nodes
}

/** The states in which a string may stop: fewer than eight ones since the root (RFC 7541 §5.2). */
function acceptingStates(tree: ReadonlyArray<readonly [number, number]>): ReadonlySet<number> {
  const accepting = new Set<number>()
  for (let ones = 0, node = 0; ones < 8; ones++, node = tree[node]?.[1] ?? 0) accepting.add(node)
  return accepting
}

function buildSteps(): Uint32Array {
  const tree = buildTree()
  const accepting = acceptingStates(tree)
  const steps = new Uint32Array(tree.length * 16)
  for (let state = 0; state < tree.length; state++) {
    for (let bits = 0; bits < 16; bits++) {
      let node = state
      let entry = 0
      for (let bit = 3; bit >= 0; bit--) {
        const next = tree[node]?.[(bits >> bit) & 1 ? 1 : 0] ?? 0
        if (next >= 0) {
          node = next
        } else if (next === -1 - EOS) {
          entry = FAILS
          node = 0
          break
        } else {
          entry |= ENDS | ((-1 - next) << SYMBOL_SHIFT)
          node = 0
        }
      }
      steps[state * 16 + bits] = entry | node | (accepting.has(node) ? ACCEPTS : 0)
    }
  }
  return steps
}
