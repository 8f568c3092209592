import { Option, Result } from "effect"
import { Toml } from "effect/encoding"
import type { ConfigProblem } from "../../services/SidecarConfig.ts"
import { type ConfigKey, keyNamed, keys, sections } from "./keys.ts"
import { nearest, related } from "./nearest.ts"
import { showBriefly, showGiven } from "./show.ts"

/** What one source says: the values that are right, and the mistakes. */
export interface Reading {
  readonly values: ReadonlyMap<ConfigKey, unknown>
  readonly problems: ReadonlyArray<ConfigProblem>
}

const isTable = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date)

const shape = (value: unknown): string => Array.isArray(value) && value.some(isTable) ? "tables" : showBriefly(value)

/** Puts the place first, as compilers do, and says in the user's words what the parser says in its own. */
const syntaxProblem = (source: string, message: string): ConfigProblem => {
  const parts = /^(.*) at line (\d+), column (\d+)$/s.exec(message)
  const what = parts?.[1] ?? message
  const token = /^Invalid value '(.*)'$|^Integer out of range '(.*)'$/s.exec(what)
  const twice = /^Cannot redefine (existing key|table) '(.*)'$/s.exec(what)
  const quoted = token?.[1] ?? token?.[2] ?? ""
  const column = Math.max(1, Number(parts?.[3] ?? 1) - quoted.length)
  const told = twice !== null
    ? `${twice[1] === "table" ? `the table [${twice[2]}]` : twice[2]} stands there twice`
    : token?.[1] !== undefined
    ? `${quoted} is no TOML value: text needs quotes, a number has no unit`
    : what.charAt(0).toLowerCase() + what.slice(1)
  return { source: parts === null ? source : `${source}:${parts[2]}:${twice === null ? column : 1}`, message: told }
}

/** The section that a table of another name was meant for: by the keys it has, or by a key of that name. */
const sectionOf = (name: string, value: unknown): string | undefined => {
  const inside = isTable(value) ? Object.keys(value).map(keyNamed).find((key) => key !== undefined) : undefined
  const namesake = related(name, keys.filter((key) => !key.hidden).map((key) => key.key))
  return inside?.section ?? keyNamed(namesake ?? "")?.section
}

const unknownSection = (source: string, name: string, value: unknown): ConfigProblem => {
  const owner = keyNamed(name)
  if (owner !== undefined && !isTable(value)) {
    return { source, key: name, message: `stands outside of its section; it belongs under [${owner.section}]` }
  }
  const near = nearest(name, sections) ?? related(name, sections) ?? sectionOf(name, value)
  if (isTable(value) || Array.isArray(value)) {
    const hint = near === undefined
      ? `the sections are ${sections.map((section) => `[${section}]`).join(", ")}`
      : `did you mean [${near}]?`
    return { source, section: name, message: `unknown section; ${hint}` }
  }
  return { source, key: name, message: `unknown key, outside of any section${keyHint(name, undefined)}` }
}

const keyHint = (name: string, section: string | undefined): string => {
  const known = keys.filter((key) => !key.hidden)
  const here = known.filter((key) => key.section === section).map((key) => key.key)
  const everywhere = known.map((key) => key.key)
  const near = nearest(name, here) ?? nearest(name, everywhere) ?? related(name, here) ?? related(name, everywhere)
  const found = near === undefined ? undefined : keyNamed(near)
  if (found !== undefined) {
    return `; did you mean ${found.section === section ? found.key : `[${found.section}] ${found.key}`}?`
  }
  return here.length === 0 ? "" : `; [${section}] has ${here.join(", ")}`
}

const unknownKey = (source: string, section: string, name: string): ConfigProblem => {
  const elsewhere = keyNamed(name)
  const message = elsewhere === undefined
    ? `unknown key${keyHint(name, section)}`
    : `unknown key here; it belongs under [${elsewhere.section}]`
  return { source, section, key: name, message }
}

const wrongValue = (source: string, key: ConfigKey, value: unknown): ConfigProblem => {
  const bare = typeof value === "string" ? bareValue(value) : undefined
  const hint = bare !== undefined && Option.isSome(key.accept(bare)) ? ` (without the quotes it is right)` : ""
  return {
    source,
    section: key.section,
    key: key.key,
    message: `expected ${key.expected}, got ${showGiven(key, value)}${hint}`
  }
}

const bareValue = (text: string): unknown => {
  const parsed = Toml.parse(`value = ${text}`)
  return Result.isSuccess(parsed) && Object.keys(parsed.success).length === 1 ? parsed.success["value"] : undefined
}

/** Reads settings by section and key, strictly; every mistake is told. */
export const readSettings = (source: string, document: Readonly<Record<string, unknown>>): Reading => {
  const values = new Map<ConfigKey, unknown>()
  const problems: Array<ConfigProblem> = []
  for (const [section, table] of Object.entries(document)) {
    if (table === undefined) continue
    if (!sections.includes(section)) {
      problems.push(unknownSection(source, section, table))
    } else if (!isTable(table)) {
      problems.push({ source, section, message: `expected one table [${section}], got ${shape(table)}` })
    } else {
      for (const [name, value] of Object.entries(table)) {
        const key = keyNamed(name)
        if (key === undefined || key.section !== section) {
          problems.push(unknownKey(source, section, name))
          continue
        }
        if (value === undefined) continue
        const accepted = key.accept(value)
        if (Option.isSome(accepted)) values.set(key, accepted.value)
        else problems.push(wrongValue(source, key, value))
      }
    }
  }
  return { values, problems }
}

/** Reads the text of a TOML file; text that is no TOML is one mistake, with its line and column. */
export const readToml = (source: string, text: string): Reading =>
  Result.match(Toml.parse(text), {
    onFailure: (error) => ({ values: new Map(), problems: [syntaxProblem(source, error.message)] }),
    onSuccess: (document) => readSettings(source, document)
  })
