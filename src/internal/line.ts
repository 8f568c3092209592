/** A place in a {@link Line}. Once left it points to nothing. */
export class Seat<A> {
  readonly member: A
  line: Line<A> | undefined
  previous: Seat<A> | undefined = undefined
  next: Seat<A> | undefined = undefined

  constructor(member: A, line: Line<A>) {
    this.member = member
    this.line = line
  }
}

/** Objects that come, wait and go, in the order in which they came: a `Set` that leaves nothing behind (see `Roster`). */
export class Line<A> {
  first: Seat<A> | undefined = undefined
  #last: Seat<A> | undefined = undefined
  size = 0

  /** Its seat, for {@link remove}. */
  add(member: A): Seat<A> {
    const seat = new Seat(member, this)
    seat.previous = this.#last
    if (this.#last === undefined) this.first = seat
    else this.#last.next = seat
    this.#last = seat
    this.size++
    return seat
  }

  /** `false`: it is not in this line (any more). */
  remove(seat: Seat<A>): boolean {
    if (seat.line !== this) return false
    const { next, previous } = seat
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    seat.line = undefined
    seat.previous = undefined
    seat.next = undefined
    this.size--
    return true
  }
}
