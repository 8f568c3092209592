import { Effect } from "effect"
import type { ConfigReload } from "../../services/ConfigReload.ts"
import type { Settings } from "../../services/SidecarConfig.ts"
import type { SidecarEvent } from "../../services/SidecarEvents.ts"
import { keyNamed } from "../config/keys.ts"
import { shownSettings } from "../config/liveSettings.ts"
import { reloadTold } from "../config/reloadTold.ts"
import type { Command } from "./controlCommand.ts"
import { done, mistake } from "./controlCommand.ts"

/** What these commands work on. */
export interface ConfigCommandsOptions {
  readonly config: Settings
  /** None: the settings are an application's own. */
  readonly reload: ConfigReload["Service"] | undefined
  readonly tell: (event: SidecarEvent) => void
}

type Level = Settings["observability"]["log_level"]

const isLevel = (word: unknown): word is Level => keyNamed("log_level")?.accept(word)._tag === "Some"

/** `sidecar.reload`, `sidecar.config`, `sidecar.log_level`. */
export const configCommands = (
  { config, reload, tell }: ConfigCommandsOptions
): Readonly<Record<string, Command>> => {
  const own = Effect.succeed(mistake("the settings are given by the application that this sidecar runs in"))
  return {
    "sidecar.config": () => Effect.sync(() => ({ ...done, settings: JSON.stringify(shownSettings(config)) })),
    "sidecar.reload": () =>
      reload === undefined ? own : reloadTold(reload, tell).pipe(
        Effect.map(({ changed, needRestart }) => ({
          ...done,
          changed: JSON.stringify(changed),
          need_restart: JSON.stringify(needRestart)
        })),
        Effect.catchTag("ConfigError", (error) => Effect.succeed({ ...mistake(error.message), reason: "config" }))
      ),
    "sidecar.log_level": ({ level }) => {
      if (reload === undefined) return own
      if (!isLevel(level)) {
        return Effect.succeed(
          mistake(`level: expected ${keyNamed("log_level")?.expected}, got ${JSON.stringify(level ?? "")}`)
        )
      }
      return Effect.gen(function*() {
        const before = config.observability.log_level
        yield* reload.setLogLevel(level)
        yield* Effect.logWarning(`log level: ${before} → ${level}, until the next reload or restart`)
        return { ...done, before, level }
      })
    }
  }
}
