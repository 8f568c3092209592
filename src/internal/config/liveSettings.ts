import type { SettingChange } from "../../services/ConfigReload.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import { contradictions } from "./crossChecks.ts"
import { type ConfigKey, keys } from "./keys.ts"
import { HIDDEN, showValue } from "./show.ts"

/** Settings beside those in force. */
export interface SettingsDifference {
  /** What may change while the sidecar runs. */
  readonly live: ReadonlyArray<SettingChange>
  /** What is built at the start. */
  readonly needRestart: ReadonlyArray<SettingChange>
}

type Tables = ReadonlyMap<string, object>

const tablesOf = (settings: Settings): Tables => new Map(Object.entries(settings))

const valueOf = (tables: Tables, { key, section }: ConfigKey): unknown => {
  const table = tables.get(section)
  return table === undefined ? undefined : Reflect.get(table, key)
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

const shown = ({ secret }: ConfigKey, value: unknown): string =>
  value === undefined ? NONE : secret ? HIDDEN : showValue(value)

const NONE = "none"

/** `https` is another way to the same as `http`, `nats` is not. */
const schemeOf = (value: string): string | undefined => /^"(\w+?)s?:\/\//.exec(value)?.[1]

/**
 * Whether another value is taken over without a restart. Switched on or off, or by another protocol, it is built anew.
 * Values as they are shown.
 */
export const mayChange = ({ live }: Pick<ConfigKey, "live">, from: string, to: string): boolean =>
  live === "always" || (live === "when set" && from !== NONE && to !== NONE && schemeOf(from) === schemeOf(to))

/**
 * Whether a key waits for the restart that others of `changed` need: the token of the old billing service must not go to the
 * new one, nor records in the old format.
 */
export const waitsForOthers = (key: string, changed: ReadonlyArray<string>): boolean =>
  key === "billing_endpoint" && changed.some((other) => other !== key && other.startsWith("billing_"))

const copyOf = (settings: Settings): Settings => ({
  server: { ...settings.server },
  health: { ...settings.health },
  reload: { ...settings.reload },
  tenants: { ...settings.tenants },
  circuit_breaker: { ...settings.circuit_breaker },
  metering: { ...settings.metering },
  observability: { ...settings.observability }
})

/** Writes the values of the keys `taken` into `settings`. */
const take = (settings: Settings, wanted: Settings, taken: ReadonlySet<string>): void => {
  const [tables, after] = [tablesOf(settings), tablesOf(wanted)]
  for (const key of keys) {
    const table = taken.has(key.key) ? tables.get(key.section) : undefined
    if (table !== undefined) Reflect.set(table, key.key, valueOf(after, key))
  }
}

/** Without those that would contradict what stays as it is until a restart. */
const consistent = (inForce: Settings, wanted: Settings, taken: ReadonlySet<string>): ReadonlySet<string> => {
  const mixed = copyOf(inForce)
  take(mixed, wanted, taken)
  const wrong = new Set(contradictions(mixed).flatMap(({ keys }) => keys))
  const left = new Set([...taken].filter((key) => !wrong.has(key)))
  return left.size === taken.size ? taken : consistent(inForce, wanted, left)
}

/** Which keys differ, and which of them can change now. */
export const difference = (inForce: Settings, wanted: Settings): SettingsDifference => {
  const [before, after] = [tablesOf(inForce), tablesOf(wanted)]
  const changed = keys.filter((key) => !same(valueOf(before, key), valueOf(after, key)))
  const names = changed.map(({ key }) => key)
  const changes = changed.map((key) => ({
    section: key.section,
    key: key.key,
    from: shown(key, valueOf(before, key)),
    to: shown(key, valueOf(after, key))
  }))
  const may = changes.filter(({ from, to }, index) => {
    const key = changed[index]
    return key !== undefined && mayChange(key, from, to) && !waitsForOthers(key.key, names)
  })
  const taken = consistent(inForce, wanted, new Set(may.map(({ key }) => key)))
  return {
    live: changes.filter(({ key }) => taken.has(key)),
    needRestart: changes.filter(({ key }) => !taken.has(key))
  }
}

/**
 * The one place that holds the settings in force. Whoever reads {@link LiveSettings.settings} at the time of use has the
 * value of that time; what a part was built with stays as it is until a restart, and so does what is said of it.
 */
export class LiveSettings {
  readonly settings: Settings

  constructor(initial: Settings) {
    this.settings = copyOf(initial)
  }

  /** Takes over what may change, in one turn. */
  apply(wanted: Settings): SettingsDifference {
    const found = difference(this.settings, wanted)
    take(this.settings, wanted, new Set(found.live.map(({ key }) => key)))
    return found
  }
}

/** Every value as in a file, by section and key: what two processes can compare without telling a secret. */
export const shownSettings = (settings: Settings): Readonly<Record<string, Readonly<Record<string, string>>>> => {
  const tables = tablesOf(settings)
  return Object.fromEntries([...tables.keys()].map((section) => [
    section,
    Object.fromEntries(
      keys.filter((key) => key.section === section).map((key) => [key.key, shown(key, valueOf(tables, key))])
    )
  ]))
}

/** `log_level (info → debug)` */
export const changeWords = ({ from, key, to }: SettingChange): string => `${key} (${from} → ${to})`
