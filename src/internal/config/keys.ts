import { Option, Result, Schema } from "effect"
import { Settings } from "../../services/SidecarConfig.ts"

/** What is known of one key, derived from the schema of the settings. */
export interface ConfigKey {
  readonly section: string
  readonly key: string
  /** Its environment variable. */
  readonly env: string
  /** The phrase after "expected". */
  readonly expected: string
  /** Whether people are told of it: in `sidecar.toml`, in suggestions. */
  readonly hidden: boolean
  /** Its value is a secret: it is never shown, in a mistake neither. */
  readonly secret: boolean
  /**
   * Whether another value is taken over while the sidecar runs: `"when set"`, unless that switches something on or off;
   * `"never"`: it needs a restart.
   */
  readonly live: "always" | "when set" | "never"
  /** `undefined`: the key has none, what depends on it is off. */
  readonly fallback: unknown
  /** The value when it is a right one, checked strictly: a number is not written as text. */
  readonly accept: (value: unknown) => Option.Option<unknown>
}

/** The start of every environment variable that is ours. */
export const envPrefix = "SIDECAR_"

/** Names the file; it is no key of the file itself. */
export const fileVariable = "SIDECAR_CONFIG"

const hiddenKeys: ReadonlySet<string> = new Set(["wire"])

const secretKeys: ReadonlySet<string> = new Set(["worker_token"])

/** Limits, holds and time limits of streams; whatever is read at the time of use, and built for nothing else. */
const liveKeys: ReadonlySet<string> = new Set([
  "max_concurrent_streams",
  "max_worker_streams",
  "max_queued_streams",
  "queue_timeout_secs",
  "first_token_timeout_secs",
  "stream_idle_timeout_secs",
  "max_metadata_bytes",
  "drain_timeout_secs",
  "first_message_timeout_secs",
  "load_reports",
  "max_own_calls",
  "max_unfinished_bytes",
  "max_buffered_request_bytes",
  "slow_reader_timeout_secs",
  "require_end_of_stream",
  "max_connections",
  "max_connections_per_address",
  "max_resets_per_sec",
  "max_worker_cancels_per_sec",
  "ready_when",
  "hold_timeout_secs",
  "hold_on_disconnect_secs",
  "max_held_streams",
  "max_held_bytes",
  "replay_max_bytes",
  "max_reload_secs",
  "hold_notice",
  "max_tenant_streams",
  "max_tenant_tokens_per_min",
  "tenant_limits",
  "batch_interval_secs",
  "notice_prefixes",
  "log_level",
  "access_log_level",
  "access_log_sample"
])

/** What they switch on is built at the start. */
const liveWhenSet: ReadonlySet<string> = new Set(["tls_cert", "tls_key", "tls_client_ca", "billing_endpoint"])

const defaults: Readonly<Record<string, object>> = Schema.decodeSync(Settings)({})

/** Every section of the settings, in their order. */
export const sections: ReadonlyArray<string> = Object.keys(Settings.fields)

/** Every key of the settings, in their order. */
export const keys: ReadonlyArray<ConfigKey> = Object.entries(Settings.fields).flatMap(([section, schema]) => {
  const fallbacks = new Map<string, unknown>(Object.entries(defaults[section] ?? {}))
  return Object.entries(schema.to.fields).map(([key, field]) => {
    const decode = Schema.decodeUnknownResult(Schema.toType(field))
    return {
      section,
      key,
      env: envPrefix + key.toUpperCase(),
      expected: Schema.resolveAnnotations(field)?.expected ?? "a value",
      hidden: hiddenKeys.has(key),
      secret: secretKeys.has(key),
      live: liveKeys.has(key) ? "always" : liveWhenSet.has(key) ? "when set" : "never",
      fallback: fallbacks.get(key),
      accept: (value: unknown) => value === undefined ? Option.none() : Result.getSuccess(decode(value))
    }
  })
})

const byKey: ReadonlyMap<string, ConfigKey> = new Map(keys.map((key) => [key.key, key]))
const byEnv: ReadonlyMap<string, ConfigKey> = new Map(keys.map((key) => [key.env, key]))

/** The key of that name; names are unique across the sections. */
export const keyNamed = (name: string): ConfigKey | undefined => byKey.get(name)

/** The key that an environment variable sets. */
export const keyOfVariable = (name: string): ConfigKey | undefined => byEnv.get(name)
