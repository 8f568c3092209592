import { Effect, Layer } from "effect"
import { configuredLimits } from "../internal/metrics/configuredLimits.ts"
import { onSettingsChange } from "../services/ConfigReload.ts"
import { LimitMetrics } from "../services/LimitMetrics.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"

/** Shows the bounds that are in force (`sidecar_limit{name}`), so that an alert needs no number of its own. */
export const layer: Layer.Layer<never, never, LimitMetrics | SidecarConfig> = Layer.effectDiscard(
  Effect.gen(function*() {
    const { limits } = yield* LimitMetrics
    const settings = yield* SidecarConfig
    const show = () => limits(configuredLimits(settings))
    show()
    yield* onSettingsChange(show)
  })
)
