/**
 * Seeded chance: the same seed, the same draws, on every machine. The generator is sfc32 (Chris Doty-Humphrey,
 * PractRand), seeded by splitmix32.
 */
export class Chance {
  #a: number
  #b: number
  #c: number
  #count = 1

  /** `stream` tells apart generators that share a seed. */
  constructor(seed: number, stream: number) {
    let state = (seed ^ Math.imul(stream + 1, 0x9e3779b9)) >>> 0
    const split = (): number => {
      state = (state + 0x9e3779b9) | 0
      let word = state ^ (state >>> 16)
      word = Math.imul(word, 0x21f0aaad)
      word ^= word >>> 15
      word = Math.imul(word, 0x735a2d97)
      return word ^ (word >>> 15)
    }
    this.#a = split()
    this.#b = split()
    this.#c = split()
    for (let n = 0; n < 12; n++) this.#word()
  }

  #word(): number {
    const out = (this.#a + this.#b + this.#count++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + out | 0
    return out >>> 0
  }

  /** Uniform in [0, 1). */
  unit(): number {
    return this.#word() / 0x1_0000_0000
  }

  /** A whole number from `min` to `max`, both included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.unit() * (max - min + 1))
  }

  /** Small numbers are more likely: uniform in the logarithm. */
  skewed(min: number, max: number): number {
    return Math.round(min * (max / min) ** this.unit())
  }

  yes(probability: number): boolean {
    return this.unit() < probability
  }

  pick<A>(choices: readonly [A, ...ReadonlyArray<A>]): A {
    return choices[Math.floor(this.unit() * choices.length)] ?? choices[0]
  }

  /** Each of them with the given probability, but at least one. */
  some<A>(choices: readonly [A, ...ReadonlyArray<A>], probability: number): readonly [A, ...ReadonlyArray<A>] {
    const [first, ...rest] = choices.filter(() => this.yes(probability))
    return first === undefined ? [this.pick(choices)] : [first, ...rest]
  }
}
