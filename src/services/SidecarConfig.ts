import { Context, Effect, Schema } from "effect"

const orElse = <S extends Schema.Top>(schema: S, value: S["Type"]) =>
  schema.pipe(Schema.withDecodingDefaultType(Effect.succeed(value)))

const section = <F extends Schema.Struct.Fields>(fields: F) => Schema.Struct(fields)

/** A positive number of seconds, fractions allowed. */
const Secs = Schema.Finite.check(Schema.isGreaterThan(0))
/** A number of seconds; 0 switches the thing off. */
const SecsOrOff = Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0))
const Count = Schema.Int.check(Schema.isGreaterThan(0))
const CountOrOff = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** The settings, by the names they have in `sidecar.toml` (design §8). Times are seconds, sizes are bytes. */
export const Settings = Schema.Struct({
  server: section({
    bind_addr: orElse(
      Schema.Union([Schema.NonEmptyString, Schema.NonEmptyArray(Schema.NonEmptyString)]),
      "0.0.0.0:50051"
    ),
    worker_uds: orElse(Schema.NonEmptyString, "unix:///tmp/cy_worker.sock"),
    max_concurrent_streams: orElse(Count, 1000),
    max_worker_streams: orElse(CountOrOff, 0),
    max_queued_streams: orElse(CountOrOff, 1000),
    queue_timeout_secs: orElse(Secs, 60),
    first_token_timeout_secs: orElse(Secs, 1800),
    stream_idle_timeout_secs: orElse(Secs, 300),
    max_message_bytes: orElse(Count, 104_857_600),
    max_metadata_bytes: orElse(Count, 7168),
    drain_timeout_secs: orElse(SecsOrOff, 30),
    slow_reader_timeout_secs: orElse(Secs, 120),
    require_end_of_stream: orElse(Schema.Boolean, true),
    tls_cert: Schema.optionalKey(Schema.NonEmptyString),
    tls_key: Schema.optionalKey(Schema.NonEmptyString),
    tls_client_ca: Schema.optionalKey(Schema.NonEmptyString)
  }),
  health: section({
    check_interval_secs: orElse(Secs, 5),
    check_timeout_secs: orElse(Secs, 2),
    failure_threshold: orElse(Count, 3),
    reconnect_delay_secs: orElse(Secs, 2),
    max_reconnect_attempts: orElse(CountOrOff, 5)
  }),
  reload: section({
    hold_timeout_secs: orElse(Secs, 30),
    hold_on_disconnect_secs: orElse(SecsOrOff, 0),
    max_held_streams: orElse(CountOrOff, 256),
    max_held_bytes: orElse(CountOrOff, 16_777_216),
    replay_max_bytes: orElse(CountOrOff, 1_048_576),
    max_reload_secs: orElse(Secs, 600),
    hold_notice: orElse(Schema.String, "")
  }),
  circuit_breaker: section({
    trip_after: orElse(Count, 5),
    open_secs: orElse(Secs, 10)
  }),
  metering: section({
    billing_endpoint: Schema.optionalKey(Schema.NonEmptyString),
    batch_interval_secs: orElse(Secs, 10),
    offline_queue_size: orElse(Count, 10_000),
    journal_path: orElse(Schema.NonEmptyString, ".sidecar/usage.sqlite"),
    durability: orElse(Schema.Literals(["crash", "power-loss"]), "crash"),
    notice_prefixes: orElse(Schema.Array(Schema.NonEmptyString), ["[模型加载]"])
  }),
  observability: section({
    metrics_port: orElse(Schema.Port, 9090),
    metrics_host: orElse(Schema.NonEmptyString, "0.0.0.0"),
    log_level: orElse(Schema.Literals(["trace", "debug", "info", "warn", "error"]), "info"),
    log_format: Schema.optionalKey(Schema.Literals(["pretty", "json"])),
    otlp_endpoint: Schema.optionalKey(Schema.NonEmptyString)
  })
})
export type Settings = typeof Settings.Type

/** The settings of this sidecar, decoded and complete. `layers/TomlConfig` reads them from a file and the environment. */
export class SidecarConfig extends Context.Service<SidecarConfig, Settings>()("cy-llm-sidecar/SidecarConfig") {}
