const resolved = Promise.resolve()

/**
 * `now`, read once for all that one callback of the event loop does: what came together has come at one time. In a burst the
 * last of a hundred calls would otherwise seem to arrive when the ninety-nine before it had been dealt with.
 */
export const turnClock = (now: () => number): () => number => {
  let turnAt: number | undefined
  const over = (): void => {
    turnAt = undefined
  }
  return () => {
    if (turnAt === undefined) {
      turnAt = now()
      // A microtask: `setImmediate` is a callback of its own, which costs a flow of single tokens more than its other clocks.
      void resolved.then(over)
    }
    return turnAt
  }
}
