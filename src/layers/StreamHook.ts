import { Layer } from "effect"
import { type StreamHook as Hook, StreamHooks } from "../services/StreamHooks.ts"

export type { StreamHook as Hook } from "../services/StreamHooks.ts"

/** The hooks of a sidecar, in the order in which a stream meets them. Provide it to `Sidecar.make` or `Sidecar.layer`. */
export const layer = (...hooks: ReadonlyArray<Hook>): Layer.Layer<StreamHooks> => Layer.succeed(StreamHooks, hooks)
