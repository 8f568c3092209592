import type { ModelTokens } from "../../services/StreamMetrics.ts"

/** Tokens by model. */
export interface ModelCounter {
  /** The counter of one model; it takes a place among the `limit` only when it counts its first token. */
  readonly of: (modelId: string) => ModelTokens
  readonly read: () => Iterable<readonly [string, number]>
  readonly total: () => number
}

/** So many places of models may pass to others at once; then one a minute, as each new name is a series for ever elsewhere. */
const mostTurns = 32
const turnMillis = 60_000
const idleMillis = 3_600_000

/** A model. All of its streams count with it: one object a stream would be a cache miss a token, with thousands of them. */
class Model implements ModelTokens {
  readonly name: string
  readonly #place: (model: Model) => Model
  tokens = 0
  /** When a stream of it began to count last. Monotonic milliseconds. */
  askedAt: number
  /** It is one of those with a label of their own. */
  hasPlace = false
  /** Who counts its tokens while it has no place. */
  #deputy: Model | undefined

  /** `place`: who counts for a model without a place, the model itself where it can have one. */
  constructor(name: string, askedAt: number, place: (model: Model) => Model) {
    this.name = name
    this.askedAt = askedAt
    this.#place = place
  }

  add(tokens: number): void {
    if (tokens <= 0) return
    if (this.hasPlace) {
      this.tokens += tokens
      return
    }
    if (this.#deputy?.hasPlace !== true) this.#deputy = this.#place(this)
    this.#deputy.tokens += tokens
  }
}

/**
 * At most `limit` models, then "other"; so is a name longer than `maxName` UTF-16 units. No name is "unknown". When all
 * places are taken, one that counts its first token gets that of a model nobody asks for, or of the one with the fewest,
 * whose tokens go to "other": names that somebody invents keep no real one out.
 *
 * @param now monotonic milliseconds
 */
export const modelCounter = (limit: number, now: () => number, maxName = 200): ModelCounter => {
  const places = new Map<string, Model>()
  const settle = (model: Model): Model => {
    model.hasPlace = true
    model.askedAt = now()
    places.set(model.name, model)
    return model
  }
  let turns = mostTurns
  let turnsAt = now()
  const mayTurn = (): boolean => {
    const earned = Math.floor((now() - turnsAt) / turnMillis)
    turns = Math.min(mostTurns, turns + earned)
    turnsAt += earned * turnMillis
    if (turns === 0) return false
    turns--
    return true
  }
  /** Whoever nobody asked for during the last hour, the longest first; else the one with the fewest tokens. */
  const poorest = (): Model | undefined => {
    let found: Model | undefined
    const longAgo = now() - idleMillis
    for (const model of places.values()) {
      if (model.name === "other" || model.name === "unknown") continue
      const worth = model.askedAt < longAgo ? -1 : model.tokens
      const least = found === undefined ? Infinity : found.askedAt < longAgo ? -1 : found.tokens
      if (worth < least || (worth === least && model.askedAt < (found?.askedAt ?? 0))) found = model
    }
    return found
  }
  const place = (model: Model): Model => {
    const known = places.get(model.name)
    if (known !== undefined) return known
    // "other" itself stands outside the limit.
    const named = places.has("other") ? places.size - 1 : places.size
    if (model.name === "other" || named < limit) return settle(model)
    const leaving = mayTurn() ? poorest() : undefined
    const other = place(new Model("other", now(), place))
    if (leaving === undefined) return other
    places.delete(leaving.name)
    leaving.hasPlace = false
    other.tokens += leaving.tokens
    leaving.tokens = 0
    return settle(model)
  }
  return {
    of: (modelId) => {
      const name = modelId === "" ? "unknown" : modelId.length > maxName ? "other" : modelId
      const known = places.get(name)
      if (known === undefined) return new Model(name, now(), place)
      known.askedAt = now()
      return known
    },
    read: () => Array.from(places, ([name, model]) => [name, model.tokens] as const),
    total: () => {
      let sum = 0
      for (const { tokens } of places.values()) sum += tokens
      return sum
    }
  }
}
