import { Effect } from "effect"
import type { ConfigReload, ReloadReport } from "../../services/ConfigReload.ts"
import type { ConfigError } from "../../services/SidecarConfig.ts"
import { SidecarEvent } from "../../services/SidecarEvents.ts"
import { changeWords } from "./liveSettings.ts"

/** Reads the settings again, and says what came of it: in the log, and as an event. */
export const reloadTold = (
  { reload }: ConfigReload["Service"],
  tell: (event: SidecarEvent) => void
): Effect.Effect<ReloadReport, ConfigError> =>
  reload.pipe(
    Effect.tap(({ changed, needRestart }) => {
      tell(SidecarEvent.ConfigReloaded({
        changed: changed.map(changeWords),
        needRestart: needRestart.map(changeWords)
      }))
      const said = Effect.logInfo(
        changed.length === 0 ? "configuration read again; nothing changed" : "configuration read again"
      ).pipe(Effect.annotateLogs(Object.fromEntries(changed.map(({ from, key, to }) => [key, `${from} → ${to}`]))))
      return needRestart.length === 0
        ? said
        : Effect.andThen(
          said,
          Effect.logWarning(`needs a restart to change: ${needRestart.map(changeWords).join(", ")}`)
        )
    }),
    Effect.tapError((error) => {
      const detail = `configuration not taken, the one in force stays: ${error.message.split("\n").join("; ")}`
      tell(SidecarEvent.ConfigRejected({ detail }))
      return Effect.logError(detail)
    })
  )
