import { Context, Effect, Option, Schema, type Scope } from "effect"
import type { ConfigError, Settings } from "./SidecarConfig.ts"

/** A key whose value differs; `from` and `to` as in a file, without secrets; `none`: not set. */
export const SettingChange = Schema.Struct({
  section: Schema.String,
  key: Schema.String,
  from: Schema.String,
  to: Schema.String
})
export type SettingChange = typeof SettingChange.Type

/** What file and environment say now beside what was in force: `changed` is in force from now on. */
export const ReloadReport = Schema.Struct({
  changed: Schema.Array(SettingChange),
  needRestart: Schema.Array(SettingChange)
})
export type ReloadReport = typeof ReloadReport.Type

/**
 * The settings of a sidecar that reads them itself (file and environment) can be read again while it runs. An application
 * that gives settings of its own has none of this.
 *
 * Implementation: `layers/TomlConfig`.
 */
export class ConfigReload extends Context.Service<ConfigReload, {
  /** Reads again and takes over what may change; a mistake changes nothing. */
  readonly reload: Effect.Effect<ReloadReport, ConfigError>
  /** Another `log_level`, until the next reload. */
  readonly setLogLevel: (level: Settings["observability"]["log_level"]) => Effect.Effect<void>
  /** Calls `listener` after each change, in the same turn; returns the way to unsubscribe. */
  readonly onChange: (listener: () => void) => () => void
}>()("cy-llm-sidecar/ConfigReload") {}

/** Calls `listener` whenever settings have changed, as long as the scope is open; where they cannot, never. */
export const onSettingsChange = (listener: () => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Effect.serviceOption(ConfigReload), (reload) =>
    Option.isNone(reload)
      ? Effect.void
      : Effect.asVoid(Effect.acquireRelease(
        Effect.sync(() => reload.value.onChange(listener)),
        (unsubscribe) => Effect.sync(unsubscribe)
      )))
