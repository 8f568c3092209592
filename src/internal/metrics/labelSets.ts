import { Code, codeName } from "../../services/Status.ts"
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
