import { setTimeout as delay } from "node:timers/promises"

/** A promise with its handles. */
export interface Deferred<A> {
  readonly promise: Promise<A>
  readonly resolve: (value: A) => void
  readonly reject: (cause: unknown) => void
  readonly settled: () => boolean
}

export const deferred = <A>(): Deferred<A> => {
  let settled = false
  const { promise, resolve, reject } = Promise.withResolvers<A>()
  // Nobody may be waiting when a process dies under a test that has already failed.
  promise.catch(() => undefined)
  return {
    promise,
    resolve: (value) => {
      settled = true
      resolve(value)
    },
    reject: (cause) => {
      settled = true
      reject(cause)
    },
    settled: () => settled
  }
}

/** Things that happened, in order, and a way to wait for the next one that matters. */
export class Recorder<A> {
  readonly all: Array<A> = []
  readonly #waiting = new Set<() => void>()
  #failure: Error | undefined

  push(item: A): void {
    this.all.push(item)
    for (const wake of this.#waiting) wake()
  }

  /** Nothing more will come: whoever waits is told why. */
  fail(cause: Error): void {
    this.#failure = cause
    for (const wake of this.#waiting) wake()
  }

  /** The first item from index `from` on that matches: one that is there, or the next one. */
  async first(matches: (item: A) => boolean, what: string, from = 0): Promise<A> {
    let at = from
    for (;;) {
      for (; at < this.all.length; at++) {
        const item = this.all[at]!
        if (matches(item)) return item
      }
      if (this.#failure !== undefined) throw new Error(`${what}: ${this.#failure.message}`)
      await this.#next()
    }
  }

  /** Completes when at least `count` items are there. */
  async count(count: number, what: string): Promise<void> {
    while (this.all.length < count) {
      if (this.#failure !== undefined) {
        throw new Error(`${what}: ${this.all.length} of ${count}; ${this.#failure.message}`)
      }
      await this.#next()
    }
  }

  #next(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const wake = () => {
      this.#waiting.delete(wake)
      resolve()
    }
    this.#waiting.add(wake)
    return promise
  }
}

/** A queue that hands each item out once. */
export class Inbox<A> {
  readonly #items: Array<A> = []
  #waiting: Array<{ readonly matches: (item: A) => boolean; readonly deferred: Deferred<A> }> = []
  #failure: Error | undefined

  offer(item: A): void {
    const at = this.#waiting.findIndex((waiting) => waiting.matches(item))
    if (at < 0) this.#items.push(item)
    else this.#waiting.splice(at, 1)[0]!.deferred.resolve(item)
  }

  fail(cause: Error): void {
    this.#failure = cause
    for (const waiting of this.#waiting) waiting.deferred.reject(cause)
    this.#waiting = []
  }

  take(matches: (item: A) => boolean = () => true): Promise<A> {
    const at = this.#items.findIndex(matches)
    if (at >= 0) return Promise.resolve(this.#items.splice(at, 1)[0]!)
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const waiting = { matches, deferred: deferred<A>() }
    this.#waiting.push(waiting)
    return waiting.deferred.promise
  }

  /** Whoever still waits waits no more, and what nobody has taken is gone: a test that failed takes nothing of the next one. */
  forget(): void {
    this.#items.length = 0
    for (const waiting of this.#waiting.splice(0)) waiting.deferred.reject(new Error("the test is over"))
  }

  /** Items nobody has taken. */
  get left(): ReadonlyArray<A> {
    return this.#items
  }
}

/**
 * Looks until `look` gives something other than `undefined`; for states that another process only shows when asked.
 * Without a limit of its own: the runner's names the test that waits in vain. `what` is told then through
 * `describeWaits`.
 */
export const eventually = async <A>(what: string, look: () => Promise<A | undefined> | A | undefined): Promise<A> => {
  const limit = performance.now() + 45_000
  let last: unknown
  // Each look may cost an HTTP exchange: a thing that takes long is looked for less often.
  for (let pause = 5;; pause = Math.min(25, pause + 1)) {
    try {
      const found = await look()
      if (found !== undefined) return found
      last = undefined
    } catch (cause) {
      last = cause
    }
    if (performance.now() > limit) throw new Error(`never came: ${what}`, { cause: last })
    await delay(pause)
  }
}

/** The promise's value, or a failure that says what was waited for. */
export const within = async <A>(millis: number, what: string, promise: Promise<A>): Promise<A> => {
  const done = new AbortController()
  const late = delay(millis, undefined, { signal: done.signal }).then(
    () => {
      throw new Error(`not within ${millis} ms: ${what}`)
    },
    () => new Promise<never>(() => undefined)
  )
  try {
    return await Promise.race([promise, late])
  } finally {
    done.abort()
  }
}
