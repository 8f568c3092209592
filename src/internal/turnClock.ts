/**
 * `now`, read once a turn of the event loop: what came together has come at one time. In a burst the last of a hundred
 * calls would otherwise seem to arrive when the ninety-nine before it had been dealt with.
 */
export const turnClock = (now: () => number): () => number => {
  let turnAt: number | undefined
  const over = (): void => {
    turnAt = undefined
  }
  return () => {
    if (turnAt === undefined) {
      turnAt = now()
      setImmediate(over)
    }
    return turnAt
  }
}
