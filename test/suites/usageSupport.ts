import { Context, Effect, Layer, Schema } from "effect"
import { makeCountsPacker, type PackedCounts } from "../../src/internal/usage/counts.ts"
import type { Tally } from "../../src/internal/usage/tally.ts"
import * as NoMetrics from "../../src/layers/NoMetrics.ts"
import type { Metrics } from "../../src/services/Metrics.ts"
import { type PartialSettings, Settings, SidecarConfig } from "../../src/services/SidecarConfig.ts"
import type { JournalRecord } from "../../src/services/UsageJournal.ts"
import { UsageMetrics } from "../../src/services/UsageMetrics.ts"
import type { Outcome, StreamIdentity } from "../../src/services/UsageRecord.ts"

/** What the usage figures were last set to, and how often each event happened. */
export class UsageFigures extends Context.Service<UsageFigures, {
  readonly records: Map<string, number>
  readonly tokens: Map<string, number>
  readonly reports: Map<string, number>
  readonly suspects: Map<string, number>
  readonly journalErrors: Map<string, number>
  lag: number
}>()("test/UsageFigures") {}

const bump = (map: Map<string, number>, key: string) => void map.set(key, (map.get(key) ?? 0) + 1)

/** Usage figures that can be looked at. */
export const figuresLayer: Layer.Layer<Metrics | UsageMetrics | UsageFigures> = Layer.effectContext(Effect.sync(() => {
  const figures = UsageFigures.of({
    records: new Map(),
    tokens: new Map(),
    reports: new Map(),
    suspects: new Map(),
    journalErrors: new Map(),
    lag: 0
  })
  const metrics = UsageMetrics.of({
    usageRecords: (state, count) => void figures.records.set(state, count),
    usageTokens: (state, count) => void figures.tokens.set(state, count),
    usageSuspect: (reason) => bump(figures.suspects, reason),
    usageReport: (result) => bump(figures.reports, result),
    usageLag: (seconds) => {
      figures.lag = seconds
    },
    journalError: (operation) => bump(figures.journalErrors, operation)
  })
  return Context.make(UsageMetrics, metrics).pipe(Context.add(UsageFigures, figures))
})).pipe(Layer.provideMerge(NoMetrics.layer))

/** A checkpoint of these streams. */
export const packed = (...tallies: ReadonlyArray<Tally>): PackedCounts => {
  const packer = makeCountsPacker()
  for (const tally of tallies) packer.add(tally)
  return packer.take()
}

export type MeteringOptions = NonNullable<PartialSettings["metering"]>

export const configLayer = (metering: MeteringOptions): Layer.Layer<SidecarConfig> =>
  Layer.effect(
    SidecarConfig,
    Schema.decodeEffect(Settings)({
      server: {},
      health: {},
      reload: {},
      circuit_breaker: {},
      metering,
      observability: {}
    }).pipe(Effect.orDie)
  )

export const identity = (part: Partial<StreamIdentity> = {}): StreamIdentity => ({
  traceId: "trace",
  modelId: "qwen-7b",
  adapter: "",
  tenant: "acme",
  playerId: "p1",
  promptChars: 4,
  priority: 0,
  ...part
})

let made = 0
/** A closed record; times in milliseconds since the epoch. */
export const record = (
  tokens: number,
  part: { readonly id?: string; readonly tenant?: string; readonly outcome?: Outcome; readonly endedAt?: number } = {}
): JournalRecord => ({
  record_id: part.id ?? `r${String(++made).padStart(8, "0")}`,
  trace_id: "trace",
  model_id: "qwen-7b",
  adapter: "",
  tenant: part.tenant ?? "acme",
  player_id: "p1",
  prompt_chars: 4,
  tokens_generated: tokens,
  chunks: tokens,
  bytes: tokens * 12,
  notices: 0,
  token_source: "chunk",
  outcome: part.outcome ?? "completed",
  grpc_status: 0,
  replays: 0,
  held_ms: 0,
  ttft_ms: 5,
  started_at: new Date((part.endedAt ?? 1000) - 10).toISOString(),
  ended_at: new Date(part.endedAt ?? 1000).toISOString()
})
