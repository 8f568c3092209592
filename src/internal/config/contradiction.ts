/** A mistake that no key shows by itself. `keys`: who takes part; it is told at the first of them that was set. */
export interface Contradiction {
  readonly keys: readonly [string, ...ReadonlyArray<string>]
  readonly message: string
}
