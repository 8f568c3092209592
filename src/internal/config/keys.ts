import { Option, Result, Schema } from "effect"
import { Settings } from "../../services/SidecarConfig.ts"

/** What is known of one key, derived from the schema of the settings. */
export interface ConfigKey {
  readonly section: string
  readonly key: string
  /** Its environment variable. */
  readonly env: string
  /** The phrase after "expected". */
  readonly expected: string
  /** Whether people are told of it: in `sidecar.toml`, in suggestions. */
  readonly hidden: boolean
  /** Its value is a secret: it is never shown, in a mistake neither. */
  readonly secret: boolean
  /** `undefined`: the key has none, what depends on it is off. */
  readonly fallback: unknown
  /** The value when it is a right one, checked strictly: a number is not written as text. */
  readonly accept: (value: unknown) => Option.Option<unknown>
}

/** The start of every environment variable that is ours. */
export const envPrefix = "SIDECAR_"

/** Names the file; it is no key of the file itself. */
export const fileVariable = "SIDECAR_CONFIG"

const hiddenKeys: ReadonlySet<string> = new Set(["wire"])

const secretKeys: ReadonlySet<string> = new Set(["worker_token"])

const defaults: Readonly<Record<string, object>> = Schema.decodeSync(Settings)({})

/** Every section of the settings, in their order. */
export const sections: ReadonlyArray<string> = Object.keys(Settings.fields)

/** Every key of the settings, in their order. */
export const keys: ReadonlyArray<ConfigKey> = Object.entries(Settings.fields).flatMap(([section, schema]) => {
  const fallbacks = new Map<string, unknown>(Object.entries(defaults[section] ?? {}))
  return Object.entries(schema.to.fields).map(([key, field]) => {
    const decode = Schema.decodeUnknownResult(Schema.toType(field))
    return {
      section,
      key,
      env: envPrefix + key.toUpperCase(),
      expected: Schema.resolveAnnotations(field)?.expected ?? "a value",
      hidden: hiddenKeys.has(key),
      secret: secretKeys.has(key),
      fallback: fallbacks.get(key),
      accept: (value: unknown) => value === undefined ? Option.none() : Result.getSuccess(decode(value))
    }
  })
})

const byKey: ReadonlyMap<string, ConfigKey> = new Map(keys.map((key) => [key.key, key]))
const byEnv: ReadonlyMap<string, ConfigKey> = new Map(keys.map((key) => [key.env, key]))

/** The key of that name; names are unique across the sections. */
export const keyNamed = (name: string): ConfigKey | undefined => byKey.get(name)

/** The key that an environment variable sets. */
export const keyOfVariable = (name: string): ConfigKey | undefined => byEnv.get(name)
