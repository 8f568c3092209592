import { Code, codeName } from "../../services/Status.ts"
import type { ModelTokens } from "../../services/StreamMetrics.ts"
import { AI_INFERENCE, AI_INFERENCE_METHODS, AI_TRAINING, AI_TRAINING_METHODS } from "../wire/aiContract.ts"

/**
 * Labels whose values come from outside. Each keeps its number of series bounded, whatever a caller sends: a metric
 * name's labels must never grow with what strangers can type.
 */

const health = ["Check", "List", "Watch"]

/** The methods that have a label of their own; every other path is "other". */
export const knownMethods: ReadonlyArray<string> = [
  ...AI_INFERENCE_METHODS.map((method) => `${AI_INFERENCE}/${method}`),
  ...AI_TRAINING_METHODS.map((method) => `${AI_TRAINING}/${method}`),
  ...health.map((method) => `grpc.health.v1.Health/${method}`),
  "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
  "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
]

const codes = Object.values(Code)

/** Calls by method and status: one typed array per known method, indexed by the code; the last slot is "OTHER". */
export interface HandledCounter {
  readonly add: (path: string, code: number) => void
  readonly read: () => ReadonlyArray<{ readonly labels: { method: string; code: string }; readonly value: number }>
}

export const handledCounter = (): HandledCounter => {
  const unknownCode = codes.length
  const byPath = new Map<string, Float64Array>()
  const byMethod = [...knownMethods, "other"].map((method) => {
    const counts = new Float64Array(codes.length + 1)
    byPath.set(`/${method}`, counts)
    return { method, counts }
  })
  const other = byPath.get("/other") ?? new Float64Array(codes.length + 1)
  return {
    add: (path, code) => {
      const counts = byPath.get(path) ?? other
      const slot = Number.isInteger(code) && code >= 0 && code < unknownCode ? code : unknownCode
      counts[slot] = (counts[slot] ?? 0) + 1
    },
    read: () =>
      byMethod.flatMap(({ counts, method }) =>
        Array.from(counts, (value, slot) => ({
          labels: { method, code: slot === unknownCode ? "OTHER" : codeName(slot) },
          value
        })).filter(({ value }) => value > 0)
      )
  }
}

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

interface ModelSlot {
  readonly name: string
  tokens: number
  /** When a stream of it began to count last. Monotonic milliseconds. */
  askedAt: number
  /** It has lost its place: its tokens are among the others. */
  gone: boolean
}

/**
 * At most `limit` models, then "other"; so is a name longer than `maxName` UTF-16 units. No name is "unknown". When all
 * places are taken, one that counts its first token gets that of a model nobody asks for, or of the one with the fewest,
 * whose tokens go to "other": names that somebody invents keep no real one out.
 *
 * @param now monotonic milliseconds
 */
export const modelCounter = (limit: number, now: () => number, maxName = 200): ModelCounter => {
  const slots = new Map<string, ModelSlot>()
  const add = (name: string): ModelSlot => {
    const fresh = { name, tokens: 0, askedAt: now(), gone: false }
    slots.set(name, fresh)
    return fresh
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
  const poorest = (): ModelSlot | undefined => {
    let found: ModelSlot | undefined
    const longAgo = now() - idleMillis
    for (const slot of slots.values()) {
      if (slot.name === "other" || slot.name === "unknown") continue
      const worth = slot.askedAt < longAgo ? -1 : slot.tokens
      const least = found === undefined ? Infinity : found.askedAt < longAgo ? -1 : found.tokens
      if (worth < least || (worth === least && slot.askedAt < (found?.askedAt ?? 0))) found = slot
    }
    return found
  }
  const claim = (modelId: string): ModelSlot => {
    const name = modelId === "" ? "unknown" : modelId.length > maxName ? "other" : modelId
    const known = slots.get(name)
    if (known !== undefined) return known
    // "other" itself stands outside the limit.
    const named = slots.has("other") ? slots.size - 1 : slots.size
    if (name === "other" || named < limit) return add(name)
    const leaving = mayTurn() ? poorest() : undefined
    const other = claim("other")
    if (leaving === undefined) return other
    leaving.gone = true
    slots.delete(leaving.name)
    other.tokens += leaving.tokens
    return add(name)
  }
  return {
    of: (modelId) => {
      let slot = slots.get(modelId)
      if (slot !== undefined) slot.askedAt = now()
      return {
        add: (tokens) => {
          if (tokens <= 0) return
          if (slot === undefined || slot.gone) slot = claim(modelId)
          slot.tokens += tokens
        }
      }
    },
    read: () => Array.from(slots, ([name, slot]) => [name, slot.tokens] as const),
    total: () => {
      let sum = 0
      for (const { tokens } of slots.values()) sum += tokens
      return sum
    }
  }
}

/** Numbers by a word of ours. Words beyond `limit` are counted under "other", should a caller invent them. */
export interface WordCounter {
  readonly add: (word: string) => void
  readonly set: (word: string, value: number) => void
  readonly read: () => Iterable<readonly [string, number]>
}

export const wordCounter = (words: ReadonlyArray<string>, limit = 32): WordCounter => {
  const values = new Map<string, number>(words.map((word) => [word, 0]))
  const fold = (word: string) => values.has(word) || values.size < limit ? word : "other"
  return {
    add: (word) => {
      const name = fold(word)
      values.set(name, (values.get(name) ?? 0) + 1)
    },
    set: (word, value) => {
      values.set(fold(word), value)
    },
    read: () => values
  }
}
