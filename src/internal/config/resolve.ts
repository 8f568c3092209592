import { Result, Schema } from "effect"
import { type ConfigProblem, Settings } from "../../services/SidecarConfig.ts"
import { type Contradiction, contradictions } from "./crossChecks.ts"
import type { Reading } from "./document.ts"
import { type ConfigKey, keyNamed, keyOfVariable, keys } from "./keys.ts"

/** Where each key's value comes from, in the order of the schema: `"default"`, the file as it was named, or the environment variable. */
export type Origins = Readonly<Record<string, string>>

/** The settings in force. */
export interface Resolved {
  readonly settings: Settings
  readonly origins: Origins
}

/** A source, from the weakest to the strongest. `origin`: what it calls itself for a key. */
export interface Source {
  readonly reading: Reading
  readonly origin: (key: ConfigKey) => string
}

const decode = Schema.decodeUnknownResult(Settings, { errors: "all", onExcessProperty: "error" })

/** Tells a contradiction where somebody set one of its keys. */
const place = (origins: Origins, { keys, message }: Contradiction): ConfigProblem => {
  const name = keys.find((key) => origins[key] !== "default") ?? keys[0]
  const origin = origins[name] ?? "default"
  const key = keyNamed(name)
  return key === undefined || origin === key.env
    ? { source: origin, message }
    : { source: origin, section: key.section, key: name, message }
}

/** Lays the sources over the defaults; the mistakes of all of them are told at once. */
export const resolve = (sources: ReadonlyArray<Source>): Result.Result<Resolved, ReadonlyArray<ConfigProblem>> => {
  const problems = sources.flatMap((source) => source.reading.problems)
  const origins: Record<string, string> = Object.fromEntries(keys.map((key) => [key.key, "default"]))
  const tree: Record<string, Record<string, unknown>> = {}
  for (const { origin, reading } of sources) {
    for (const [key, value] of reading.values) {
      origins[key.key] = origin(key)
      tree[key.section] = { ...tree[key.section], [key.key]: value }
    }
  }
  const decoded = decode(tree)
  if (Result.isFailure(decoded)) {
    return Result.fail([...problems, { source: "settings", message: decoded.failure.message.replaceAll("\n", " ") }])
  }
  const settings = decoded.success
  // What a misspelt key or an unreadable file would have said is not known: then nobody can say what contradicts it.
  const mistaken = problems.map((problem) => keyNamed(problem.key ?? "") ?? keyOfVariable(problem.source))
  if (mistaken.every((key) => key !== undefined)) {
    const names = new Set(mistaken.map((key) => key.key))
    for (const contradiction of contradictions(settings)) {
      if (!contradiction.keys.some((key) => names.has(key))) problems.push(place(origins, contradiction))
    }
  }
  return problems.length > 0 ? Result.fail(problems) : Result.succeed({ settings, origins })
}
