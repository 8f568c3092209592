import { seeded } from "../../support/seeded.ts"

/** Chance that is the same for the same seed. */
export interface Chance {
  /** A number from 0 up to, not including, `n`. */
  readonly below: (n: number) => number
  readonly one: <A>(all: ReadonlyArray<A>) => A
  /** True with this probability. */
  readonly is: (probability: number) => boolean
}

export const chance = (seed: number): Chance => {
  const random = seeded(seed)
  const below = (n: number): number => Math.floor(random() * n)
  return { below, one: (all) => all[below(all.length)]!, is: (probability) => random() < probability }
}
