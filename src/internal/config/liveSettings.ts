import type { SettingChange } from "../../services/ConfigReload.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
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

/** Which keys differ, and which of them can change now. */
export const difference = (inForce: Settings, wanted: Settings): SettingsDifference => {
  const [before, after] = [tablesOf(inForce), tablesOf(wanted)]
  const live: Array<SettingChange> = []
  const needRestart: Array<SettingChange> = []
  for (const key of keys) {
    const [from, to] = [valueOf(before, key), valueOf(after, key)]
    if (same(from, to)) continue
    const change = { section: key.section, key: key.key, from: shown(key, from), to: shown(key, to) }
    if (mayChange(key, change.from, change.to)) live.push(change)
    else needRestart.push(change)
  }
  return { live, needRestart }
}

/**
 * The one place that holds the settings in force. Whoever reads {@link LiveSettings.settings} at the time of use has the
 * value of that time; what a part was built with stays as it is until a restart, and so does what is said of it.
 */
export class LiveSettings {
  readonly settings: Settings

  constructor(initial: Settings) {
    this.settings = {
      server: { ...initial.server },
      health: { ...initial.health },
      reload: { ...initial.reload },
      tenants: { ...initial.tenants },
      circuit_breaker: { ...initial.circuit_breaker },
      metering: { ...initial.metering },
      observability: { ...initial.observability }
    }
  }

  /** Takes over what may change, in one turn. */
  apply(wanted: Settings): SettingsDifference {
    const found = difference(this.settings, wanted)
    const after = tablesOf(wanted)
    const tables = tablesOf(this.settings)
    for (const key of keys) {
      if (!found.live.some((change) => change.key === key.key)) continue
      const table = tables.get(key.section)
      if (table !== undefined) Reflect.set(table, key.key, valueOf(after, key))
    }
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
