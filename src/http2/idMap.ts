/** Cells of an empty map; a power of two. */
const FEWEST = 64
/** So many bits of a stream's number tell its place within a group, whose cells lie side by side. */
const GROUP_BITS = 3
/** At least so many cells for each stream: where groups meet, all of one have to look behind the other. */
const CELLS_EACH = 4
/** An odd number without a pattern. */
const MIXER = 0x2c1b3c6d

const shiftOf = (cells: number): number => 32 - Math.log2(cells >>> GROUP_BITS)

/**
 * What belongs to identifiers of streams (31 bits, never 0).
 *
 * **Details**
 *
 * A `Map` in which objects come and go lets them outlive every minor garbage collection: as it fills it moves to a new
 * table, its old table points to the new one, and once one of them has become old all later ones are kept, with whatever
 * was in them when they were left, until the next major collection. A closed stream then costs its memory, and what it
 * takes to copy it twice. This one has two arrays that it keeps, and clears the cell that it empties: open addressing with
 * linear probing, without tombstones.
 *
 * Streams that were opened one after the other stand side by side: a read of the socket brings frames of many, mostly in
 * that order, and with thousands of streams each cell would be a cache miss of its own. The peer chooses identifiers. Which
 * of these groups meet depends on a number of our own.
 */
export class IdMap<A> {
  #ids = new Int32Array(FEWEST)
  #values: Array<A | undefined> = Array.from({ length: FEWEST }, () => undefined)
  #shift = shiftOf(FEWEST)
  #size = 0
  readonly #factor: number

  /** `random`: from 0 to below 1. */
  constructor(random: () => number = Math.random) {
    this.#factor = (Math.floor(random() * 2 ** 31) << 1) | 1
  }

  get size(): number {
    return this.#size
  }

  get(id: number): A | undefined {
    return this.#values[this.#cellOf(id)]
  }

  set(id: number, value: A): void {
    let cell = this.#cellOf(id)
    if (this.#ids[cell] === 0) {
      if (CELLS_EACH * (this.#size + 1) > this.#ids.length) {
        this.#resize(2 * this.#ids.length)
        cell = this.#cellOf(id)
      }
      this.#ids[cell] = id
      this.#size++
    }
    this.#values[cell] = value
  }

  /** Whether it was there. */
  delete(id: number): boolean {
    let hole = this.#cellOf(id)
    if (this.#ids[hole] === 0) return false
    this.#size--
    const last = this.#ids.length - 1
    // Those behind it that are not where they belong move up, so that no search ends too early.
    for (let cell = (hole + 1) & last;; cell = (cell + 1) & last) {
      const other = this.#ids[cell] ?? 0
      if (other === 0) break
      if (((cell - this.#homeOf(other)) & last) < ((cell - hole) & last)) continue
      this.#ids[hole] = other
      this.#values[hole] = this.#values[cell]
      hole = cell
    }
    this.#ids[hole] = 0
    this.#values[hole] = undefined
    // Far from where it grew: what goes up and down with each turn keeps its arrays.
    if (16 * CELLS_EACH * this.#size < this.#ids.length && this.#ids.length > FEWEST) this.#resize(this.#ids.length / 2)
    return true
  }

  /** All, in the order of their identifiers. */
  values(): Array<A> {
    const found: Array<A> = []
    for (const id of this.#ids.filter((id) => id !== 0).sort()) {
      const value = this.get(id)
      if (value !== undefined) found.push(value)
    }
    return found
  }

  /** How many cells a search for the identifier looks at: what its hash is good for. */
  looks(id: number): number {
    return 1 + ((this.#cellOf(id) - this.#homeOf(id)) & (this.#ids.length - 1))
  }

  #homeOf(id: number): number {
    const number = id >>> 1
    // Multiplied once, numbers in a row fall into rows again: with one factor in a hundred into a few long ones.
    const mixed = Math.imul(number >>> GROUP_BITS, this.#factor)
    const group = Math.imul(mixed ^ (mixed >>> 15), MIXER) >>> this.#shift
    return (group << GROUP_BITS) | (number & ((1 << GROUP_BITS) - 1))
  }

  /** Where the identifier stands, else the empty cell where it would. */
  #cellOf(id: number): number {
    const ids = this.#ids
    const last = ids.length - 1
    let cell = this.#homeOf(id)
    while (ids[cell] !== id && ids[cell] !== 0) cell = (cell + 1) & last
    return cell
  }

  #resize(length: number): void {
    const [ids, values] = [this.#ids, this.#values]
    this.#ids = new Int32Array(length)
    this.#values = Array.from({ length }, () => undefined)
    this.#shift = shiftOf(length)
    ids.forEach((id, at) => {
      if (id === 0) return
      const cell = this.#cellOf(id)
      this.#ids[cell] = id
      this.#values[cell] = values[at]
    })
  }
}
