import { Option, Result } from "effect"
import { Toml } from "effect/encoding"
import type { ConfigProblem } from "../../services/SidecarConfig.ts"
import type { Reading } from "./document.ts"
import { type ConfigKey, envPrefix, fileVariable, keyOfVariable, keys } from "./keys.ts"
import { nearest } from "./nearest.ts"
import { showBriefly, showGiven } from "./show.ts"

/** The environment of a process. */
export type Env = Readonly<Record<string, string | undefined>>

/** What the environment says. */
export interface EnvReading extends Reading {
  /** One line each: variables that look like a slip, and what Kubernetes put in the place of a setting. */
  readonly warnings: ReadonlyArray<string>
  /** Variables that start like ours and mean nothing to us. */
  readonly ignored: ReadonlyArray<string>
}

/**
 * Kubernetes describes each Service of a namespace to each pod in Docker's old link variables; those of a Service named
 * `sidecar` or `sidecar-…` start like ours. `SIDECAR_METRICS_PORT=tcp://10.0.0.7:9090` is a Service `sidecar-metrics`,
 * and not the setting of that name.
 */
const linkName = /^SIDECAR(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/
const linkValue = /^(tcp|udp|sctp):\/\/\S+:\d+$/

const isServiceLink = (name: string, value: string): boolean =>
  linkName.test(name) || (name.endsWith("_PORT") && linkValue.test(value))

const booleanWords: ReadonlyMap<string, boolean> = new Map([
  ["true", true],
  ["yes", true],
  ["on", true],
  ["1", true],
  ["false", false],
  ["no", false],
  ["off", false],
  ["0", false]
])

/** What a variable's text may mean, in the order in which it is tried: the first that the key accepts is meant. */
const meanings = (text: string): ReadonlyArray<unknown> => {
  const trimmed = text.trim()
  const digits = trimmed.replaceAll(/(?<=\d)_(?=\d)/g, "")
  const list = trimmed.startsWith("[") ? Toml.parse(`value = ${trimmed}`) : undefined
  return [
    text,
    trimmed,
    /^[+-]?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(digits) ? Number(digits) : undefined,
    booleanWords.get(trimmed.toLowerCase()),
    /^[a-z-]+$/i.test(trimmed) ? trimmed.toLowerCase() : undefined,
    ...(list === undefined || Result.isFailure(list)
      ? [trimmed.split(",").map((part) => part.trim()).filter((part) => part !== "")]
      : [list.success["value"]])
  ]
}

const read = (key: ConfigKey, text: string): Option.Option<unknown> => {
  for (const meaning of meanings(text)) {
    const accepted = key.accept(meaning)
    if (Option.isSome(accepted)) return accepted
  }
  return Option.none()
}

/** Reads `SIDECAR_<KEY>` of every key. An empty variable counts as not set. */
export const readEnvironment = (env: Env): EnvReading => {
  const values = new Map<ConfigKey, unknown>()
  const problems: Array<ConfigProblem> = []
  const warnings: Array<string> = []
  const ignored: Array<string> = []
  const known = keys.filter((key) => !key.hidden).map((key) => key.env)
  for (const [name, text] of Object.entries(env).sort(([a], [b]) => a < b ? -1 : 1)) {
    if (!name.startsWith(envPrefix) || name === fileVariable || text === undefined || text === "") continue
    const key = keyOfVariable(name)
    if (isServiceLink(name, text)) {
      if (key === undefined) continue
      warnings.push(
        `${name}: ${showBriefly(text)} comes from a Kubernetes Service and was ignored; ` +
          `set enableServiceLinks: false in the pod, or set [${key.section}] ${key.key} in the file`
      )
    } else if (key === undefined) {
      const near = nearest(name.slice(envPrefix.length), [
        ...known.map((env) => env.slice(envPrefix.length)),
        fileVariable.slice(envPrefix.length)
      ])
      if (near === undefined) ignored.push(name)
      else warnings.push(`${name}: unknown variable, ignored; did you mean ${envPrefix}${near}?`)
    } else {
      const accepted = read(key, text)
      if (Option.isSome(accepted)) values.set(key, accepted.value)
      else problems.push({ source: name, message: `expected ${key.expected}, got ${showGiven(key, text)}` })
    }
  }
  return { values, problems, warnings, ignored }
}
