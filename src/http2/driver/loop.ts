import { Copies } from "../copies.ts"
import { SlabPool } from "../output.ts"
import type { SocketDriver } from "./socketDriver.ts"

/** Time between two ticks of the connections, in milliseconds. */
const TICK_MILLIS = 500
/** Requests of one connection that are handed up in one turn: then it is the others' turn. */
const REQUESTS_A_TURN = 16

const resolved = Promise.resolve()

/**
 * What the connections of a server or a channel share: memory to write into, the end of the event loop's turn, and one
 * timer.
 */
export class Loop {
  readonly pool = new SlabPool(32_768, 64, (bytes) => Buffer.allocUnsafeSlow(bytes))
  readonly copies = new Copies()
  readonly now: () => number
  readonly #drivers = new Set<SocketDriver>()
  #timer: NodeJS.Timeout | undefined
  #dirty: Array<SocketDriver> = []
  #arrived: Array<SocketDriver> = []
  readonly #flush = (): void => {
    const dirty = this.#dirty
    this.#dirty = []
    for (const driver of dirty) driver.flush()
  }
  readonly #turn = (): void => {
    const arrived = this.#arrived
    this.#arrived = []
    for (const driver of arrived) driver.turn(REQUESTS_A_TURN)
  }

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number = () => performance.now()) {
    this.now = now
  }

  add(driver: SocketDriver): void {
    this.#drivers.add(driver)
    this.#timer ??= setInterval(() => {
      const now = this.now()
      for (const driver of this.#drivers) driver.tick(now)
    }, TICK_MILLIS).unref()
  }

  remove(driver: SocketDriver): void {
    this.#drivers.delete(driver)
    if (this.#drivers.size > 0) return
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** The driver has something to write: when all that runs now has run. */
  output(driver: SocketDriver): void {
    if (this.#dirty.push(driver) === 1) void resolved.then(this.#flush)
  }

  /** The driver has requests to hand up, or more to read: when all that has come in this turn was read. */
  arrivals(driver: SocketDriver): void {
    if (this.#arrived.push(driver) === 1) setImmediate(this.#turn)
  }
}
