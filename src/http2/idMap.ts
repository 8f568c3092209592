/** Cells of an empty map; a power of two. */
const FEWEST = 64

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
 * The peer chooses identifiers. Which of them meet in a cell depends on a number of our own.
 */
export class IdMap<A> {
  #ids = new Int32Array(FEWEST)
  #values: Array<A | undefined> = Array.from({ length: FEWEST }, () => undefined)
  #shift = 32 - Math.log2(FEWEST)
  #size = 0
  readonly #factor = (Math.floor(Math.random() * 2 ** 31) << 1) | 1

  get size(): number {
    return this.#size
  }

  get(id: number): A | undefined {
    return this.#values[this.#cellOf(id)]
  }

  set(id: number, value: A): void {
    let cell = this.#cellOf(id)
    if (this.#ids[cell] === 0) {
      if (2 * (this.#size + 1) > this.#ids.length) {
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
    if (32 * this.#size < this.#ids.length && this.#ids.length > FEWEST) this.#resize(this.#ids.length / 2)
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

  #homeOf(id: number): number {
    return Math.imul(id, this.#factor) >>> this.#shift
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
    this.#shift = 32 - Math.log2(length)
    ids.forEach((id, at) => {
      if (id === 0) return
      const cell = this.#cellOf(id)
      this.#ids[cell] = id
      this.#values[cell] = values[at]
    })
  }
}
