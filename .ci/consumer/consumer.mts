import { InferenceProxy, Sidecar, TomlConfig, type UsageRecord } from "cy-llm-sidecar"
import { ScriptedGateway, Simulation } from "cy-llm-sidecar/testing"
import { Effect, Layer } from "effect"

export const embedded = Sidecar.layer.pipe(
  Layer.provide(TomlConfig.layerFrom({ server: { bind_addr: "127.0.0.1:0" }, observability: { metrics_port: 0 } }))
)

export const streamsInFlight = Effect.map(InferenceProxy, (proxy) => proxy.inFlight()).pipe(Effect.provide(embedded))

export const tokensOf = (record: UsageRecord): number => record.tokens_generated

export const story = ScriptedGateway.predict().pipe(
  Effect.provide(Simulation.layer({ worker: { timeline: "at 10s: die\nat 40s: come back" } }))
)
