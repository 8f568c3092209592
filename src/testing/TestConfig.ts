import { Layer, Schema } from "effect"
import { Settings, SidecarConfig } from "../services/SidecarConfig.ts"

/** Keys to be other than their defaults, by section: `{ health: { failure_threshold: 1 } }`. */
export type Overrides = { readonly [S in keyof Settings]?: Partial<Settings[S]> }

/** The settings with all defaults of docs/design.md §8, except for `overrides`. Throws when a value is out of range. */
export const make = (overrides: Overrides = {}): Settings =>
  Schema.decodeSync(Settings)({
    server: {},
    health: {},
    reload: {},
    circuit_breaker: {},
    metering: {},
    observability: {},
    ...overrides
  })

/** {@link make} as a layer: no file, no environment. */
export const layer = (overrides: Overrides = {}): Layer.Layer<SidecarConfig> =>
  Layer.sync(SidecarConfig, () => make(overrides))
