/**
 * Objects that come and go often, each with a number as its place.
 *
 * A `Set` (or a `Map` of objects) in which they come and go lets them outlive every minor garbage collection: as it fills
 * it moves to a new table, its old table points to the new one, and once one of them has become old all later ones are
 * kept, with whatever was in them, until the next major collection. With a stream's objects in it, that copying was a
 * third of a stream's CPU. This array stays where it is, and an emptied place is cleared.
 */
export class Roster<A> {
  readonly #members: Array<A | undefined> = []
  readonly #free: Array<number> = []

  get size(): number {
    return this.#members.length - this.#free.length
  }

  /** Its place, for {@link remove}. */
  add(member: A): number {
    const place = this.#free.pop() ?? this.#members.length
    this.#members[place] = member
    return place
  }

  /** `false`: that member does not stand in that place (any more). */
  remove(place: number, member: A): boolean {
    if (this.#members[place] !== member) return false
    this.#members[place] = undefined
    this.#free.push(place)
    return true
  }

  has(place: number, member: A): boolean {
    return this.#members[place] === member
  }

  /** All that stand in it now, by their places; it may change meanwhile. */
  all(): Array<A> {
    return this.#members.filter((member) => member !== undefined)
  }
}
