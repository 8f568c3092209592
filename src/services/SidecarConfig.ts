import { Context, Effect, Runtime, Schema } from "effect"
import { isHost, parseWorkerAddress } from "./Address.ts"
import { parseBillingEndpoint } from "./BillingEndpoint.ts"
import {
  Account,
  bindPhrase,
  BindText,
  BudgetBytes,
  choice,
  Count,
  CountOrOff,
  expects,
  FilePath,
  HttpUrl,
  MessageBytes,
  orElse,
  Secs,
  SecsOrOff,
  text
} from "./SettingValues.ts"
import { parseTenantLimit } from "./TenantLimit.ts"
import { isToken } from "./WorkerToken.ts"

const noKeys = Effect.succeed({})

/**
 * The settings, by the names they have in `sidecar.toml`. Key names are unique across the sections, so that each key
 * `k` has one environment variable `SIDECAR_<K>`. Times are seconds (fractions allowed), sizes are bytes, relative paths
 * are relative to the working directory.
 */
export const Settings = Schema.Struct({
  server: Schema.Struct({
    /** Where gateways connect: `host:port`, `[ipv6]:port` or `unix:///path`, one or a list. Port 0: any free one. */
    bind_addr: orElse(
      Schema.Union([BindText, Schema.NonEmptyArray(BindText)]).pipe(expects(bindPhrase)),
      "0.0.0.0:50051"
    ),
    /** Permissions of a Unix socket among `bind_addr`, octal; none: those that the umask leaves. */
    bind_mode: Schema.optionalKey(text("permissions such as \"0660\"", (value) => /^0?[0-7]{3}$/.test(value))),
    /** Group of a Unix socket among `bind_addr`, by name or number; none: the process's own. */
    bind_group: Schema.optionalKey(Account),
    /**
     * The worker's Unix socket (`unix:///abs`, `unix:/abs`, `unix:rel` or an absolute path), or `tcp://host:port` of one
     * on another host or in another container; TCP is not encrypted.
     */
    worker_uds: orElse(
      text(
        "a socket such as unix:///tmp/cy_worker.sock with a path of at most 107 bytes, or tcp://host:port",
        (value) => parseWorkerAddress(value) !== undefined
      ),
      "unix:///tmp/cy_worker.sock"
    ),
    /** Who may own the worker's socket beside root and our own user, by name or number; none: nobody else. */
    worker_user: Schema.optionalKey(Account),
    /** Sent to the worker as `authorization: Bearer …` when the gateway sends no `authorization`; never shown. */
    worker_token: Schema.optionalKey(text("a token: printable ASCII without spaces", isToken)),
    /** A file that holds the token instead; read again with every dial. */
    worker_token_file: Schema.optionalKey(FilePath),
    /**
     * Who may send `sidecar.*` commands: `"local"` by loopback or a Unix socket, `"unix"` by a Unix socket only, `"off"`
     * nobody, or the names of client certificates (mutual TLS). Never a call that a proxy has passed on.
     */
    control: orElse(
      Schema.Union([Schema.Literals(["local", "unix", "off"]), Schema.NonEmptyArray(Schema.NonEmptyString)]).pipe(
        expects("one of local, unix, off, or a list of names in client certificates")
      ),
      "local"
    ),
    /** Streams in flight, held and queued ones included; one more is refused with RESOURCE_EXHAUSTED. */
    max_concurrent_streams: orElse(Count, 1000),
    /** Streams at the worker at once, the others wait in order of priority; 0: no cap. */
    max_worker_streams: orElse(CountOrOff, 0),
    /** Streams that may wait for a place at the worker; one more is refused with RESOURCE_EXHAUSTED. */
    max_queued_streams: orElse(CountOrOff, 1000),
    /** How long a stream waits for a place at the worker. */
    queue_timeout_secs: orElse(Secs, 60),
    /** How long the first token may take: a worker that loads a model is slow, not dead. */
    first_token_timeout_secs: orElse(Secs, 1800),
    /** How long a stream may be silent after its first token. */
    stream_idle_timeout_secs: orElse(Secs, 300),
    /** Largest gRPC message, both ways. */
    max_message_bytes: orElse(MessageBytes, 104_857_600),
    /** Request metadata sent to the worker, counted as HTTP/2 counts it; C-core peers break at 8192. */
    max_metadata_bytes: orElse(Count, 7168),
    /** How long running streams may finish after SIGTERM; 0: they end at once. */
    drain_timeout_secs: orElse(SecsOrOff, 30),
    /** How long a call may take to send its first whole message; it holds no place before. */
    first_message_timeout_secs: orElse(Secs, 30),
    /**
     * Load reports (ORCA) for balancers: in the trailers of streams that ask for one (`endpoint-load-metrics-format`) or of all
     * (`"always"`), and from `OpenRcaService`; `"off"`: neither.
     */
    load_reports: orElse(choice("asked", "always", "off"), "asked"),
    /** Calls at once that the sidecar answers itself: Health, `sidecar.*` commands, gRPC's health and reflection. */
    max_own_calls: orElse(Count, 1000),
    /** Bytes of messages that have begun and are not whole, over all calls; beyond it the senders have to wait. */
    max_unfinished_bytes: orElse(BudgetBytes, 67_108_864),
    /**
     * Bytes of requests that wait, or are kept to be sent again, over all streams. Beyond it a stream at the worker loses
     * its right to be sent again, and one that would wait is refused.
     */
    max_buffered_request_bytes: orElse(BudgetBytes, 67_108_864),
    /** How long frames may wait for a gateway that reads nothing. */
    slow_reader_timeout_secs: orElse(Secs, 120),
    /** Whether an OK without an `end_of_stream` frame counts as truncated (DATA_LOSS). */
    require_end_of_stream: orElse(Schema.Boolean.pipe(expects("true or false")), true),
    /** Connections of gateways at once; when it is full the longest idle one makes room. */
    max_connections: orElse(Count, 4096),
    /** Those of one address among them. */
    max_connections_per_address: orElse(Count, 2048),
    /** Streams a second that one connection may open and reset for long; five times as many at once. */
    max_resets_per_sec: orElse(Count, 1000),
    /** Cancels a second that the worker is sent for long, five times as many at once; 0: no limit. */
    max_worker_cancels_per_sec: orElse(CountOrOff, 100),
    /** PEM file of the server's certificate chain; with `tls_key`. None: plaintext. */
    tls_cert: Schema.optionalKey(FilePath),
    /** PEM file of the certificate's private key. */
    tls_key: Schema.optionalKey(FilePath),
    /** PEM file of the authorities whose client certificates are demanded (mutual TLS). */
    tls_client_ca: Schema.optionalKey(FilePath),
    /** The implementation of the wire, for comparisons; not a setting for operators. None: the default one. */
    wire: Schema.optionalKey(choice("http2", "grpc-js"))
  }).pipe(Schema.withDecodingDefault(noKeys)),
  health: Schema.Struct({
    /** Time between two Health calls to the worker, and between reconnects after the first phase. */
    check_interval_secs: orElse(Secs, 5),
    /** How long a Health call may take. */
    check_timeout_secs: orElse(Secs, 2),
    /** Health calls that must fail in a row before the worker counts as gone. */
    failure_threshold: orElse(Count, 3),
    /** Time between the reconnects of the first phase, ±20 %. */
    reconnect_delay_secs: orElse(Secs, 2),
    /** Reconnects in the first phase, then one each `check_interval_secs`; 0: the first phase never ends. */
    max_reconnect_attempts: orElse(CountOrOff, 5),
    /**
     * When gRPC health and `/readyz` say that gateways may send streams here: while a new one would be served or held
     * ("accepting"), or only while it would be served at once ("connected").
     */
    ready_when: orElse(choice("accepting", "connected"), "accepting")
  }).pipe(Schema.withDecodingDefault(noKeys)),
  reload: Schema.Struct({
    /** How long a new stream is held while the worker reloads. */
    hold_timeout_secs: orElse(Secs, 30),
    /** How long a new stream is held when there is no worker; 0: it fails at once. */
    hold_on_disconnect_secs: orElse(SecsOrOff, 0),
    /** Streams held at once. */
    max_held_streams: orElse(CountOrOff, 256),
    /** Request bytes held at once, over all streams. */
    max_held_bytes: orElse(CountOrOff, 16_777_216),
    /** Largest request that is kept, so that it can be sent again when the link breaks before the first token; 0: never. */
    replay_max_bytes: orElse(CountOrOff, 1_048_576),
    /** A reload that takes longer counts as a lost worker. */
    max_reload_secs: orElse(Secs, 600),
    /** Text sent to the gateway while a stream is held, `{eta}` is replaced by seconds; "": none. */
    hold_notice: orElse(Schema.String.pipe(expects("a text")), "")
  }).pipe(Schema.withDecodingDefault(noKeys)),
  tenants: Schema.Struct({
    /** Streams of one tenant at once, held and queued ones included; 0: no limit of its own. */
    max_tenant_streams: orElse(CountOrOff, 0),
    /** Tokens a minute of one tenant, counted as they flow; what ran beyond it is owed. 0: no limit. */
    max_tenant_tokens_per_min: orElse(CountOrOff, 0),
    /** Other limits for some: `"acme streams=50 tokens_per_min=100000"`, what is not named is as for everybody. */
    tenant_limits: orElse(
      Schema.Array(Schema.String.check(Schema.makeFilter((value) => parseTenantLimit(value) !== undefined))).pipe(
        expects("a list such as [\"acme streams=50 tokens_per_min=100000\"]")
      ),
      []
    ),
    /** Whether a place at the worker goes to the tenant that has fewest, before priority within a tenant. */
    fair_queue: orElse(Schema.Boolean.pipe(expects("true or false")), false)
  }).pipe(Schema.withDecodingDefault(noKeys)),
  circuit_breaker: Schema.Struct({
    /** Openings in a row that must fail before streams are refused at once. */
    trip_after: orElse(Count, 5),
    /** Time until one stream may probe the worker. */
    open_secs: orElse(Secs, 10)
  }).pipe(Schema.withDecodingDefault(noKeys)),
  metering: Schema.Struct({
    /**
     * Where usage records go: an `http://` or `https://` URL that they are posted to, or a NATS JetStream subject
     * (`nats://host:port/subject`, several servers with commas, `tls://` for TLS only). None: they stay in the journal.
     */
    billing_endpoint: Schema.optionalKey(
      text(
        "an http:// or https:// URL, or nats://host:port/subject",
        (value) => parseBillingEndpoint(value) !== undefined
      )
    ),
    /** What is sent: our own reports and records as JSON, or each record as a CloudEvent 1.0 ("cloudevents"). */
    billing_format: orElse(choice("records", "cloudevents"), "records"),
    /** File of a bearer token for the billing service (NATS: its token); read again when it changes. */
    billing_token_file: Schema.optionalKey(FilePath),
    /** File of headers for the billing service, `Name: value` a line; HTTP only, read again when it changes. */
    billing_headers_file: Schema.optionalKey(FilePath),
    /** File of NATS credentials (`.creds`, or one NKey seed); read again when it changes. */
    billing_credentials_file: Schema.optionalKey(FilePath),
    /** PEM file of the authorities that the billing service's certificate may be signed by; none: the well-known ones. */
    billing_tls_ca: Schema.optionalKey(FilePath),
    /** PEM file of our certificate chain for the billing service (mutual TLS); with `billing_tls_key`. */
    billing_tls_cert: Schema.optionalKey(FilePath),
    /** PEM file of that certificate's private key. */
    billing_tls_key: Schema.optionalKey(FilePath),
    /** Time between two posts. */
    batch_interval_secs: orElse(Secs, 10),
    /** Records that wait in detail; beyond it the oldest are merged, their tokens kept. */
    offline_queue_size: orElse(Count, 10_000),
    /** SQLite file of the usage journal; its folder is created. */
    journal_path: orElse(FilePath, ".sidecar/usage.sqlite"),
    /** What the journal survives: the end of the process ("crash"), or of the machine ("power-loss", slower). */
    durability: orElse(choice("crash", "power-loss"), "crash"),
    /** A chunk that starts with one of these is a notice for people and not a token. */
    notice_prefixes: orElse(
      Schema.Array(Schema.NonEmptyString).pipe(expects("a list of non-empty texts")),
      ["[模型加载]"]
    )
  }).pipe(Schema.withDecodingDefault(noKeys)),
  observability: Schema.Struct({
    /** TCP port of `/metrics`, `/healthz`, `/readyz` and the status page; 0: any free one. */
    metrics_port: orElse(Schema.Port.pipe(expects("a port number (0-65535)")), 9090),
    /** Address of that port; an IPv6 address has no brackets. */
    metrics_host: orElse(text("a host name or an IP address", isHost), "0.0.0.0"),
    /** Connections to that port at once; one more takes the place of the one that has been idle longest. */
    metrics_max_connections: orElse(Count, 100),
    /** The least severe level that is logged. */
    log_level: orElse(choice("trace", "debug", "info", "warn", "error"), "info"),
    /** The level of the line of a stream that ended in an ordinary way, or was refused; others are "info"; "off": no lines. */
    access_log_level: orElse(choice("off", "trace", "debug", "info", "warn", "error"), "info"),
    /** Share of those ordinary lines that is written, 0 to 1; other ends have theirs always. */
    access_log_sample: orElse(
      Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })).pipe(expects("a number from 0 to 1")),
      1
    ),
    /** None: "pretty" when stdout is a terminal, else "json". */
    log_format: Schema.optionalKey(choice("pretty", "json")),
    /** OTLP over HTTP for traces; none: what `OTEL_EXPORTER_OTLP_ENDPOINT` says, else no traces. */
    otlp_endpoint: Schema.optionalKey(HttpUrl)
  }).pipe(Schema.withDecodingDefault(noKeys))
})
export type Settings = typeof Settings.Type

/** Settings of which any section and any key may be left out. */
export type PartialSettings = typeof Settings.Encoded

/**
 * One mistake.
 *
 * - `source`: the file as it was named, the environment variable, or `settings` for an embedder's object.
 * - `section`, `key`: where in a file or object; a variable names its key itself.
 */
export const ConfigProblem = Schema.Struct({
  source: Schema.String,
  section: Schema.optionalKey(Schema.String),
  key: Schema.optionalKey(Schema.String),
  message: Schema.String
})
export type ConfigProblem = typeof ConfigProblem.Type

/** A mistake in one line: `sidecar.toml: [health] check_interval_secs: expected a positive number, got "5s"`. */
export const formatProblem = ({ key, message, section, source }: ConfigProblem): string => {
  const place = [section === undefined ? "" : `[${section}]`, key ?? ""].filter((part) => part !== "").join(" ")
  return place === "" ? `${source}: ${message}` : `${source}: ${place}: ${message}`
}

/**
 * The settings cannot be used: every mistake of the file and the environment at once, `message` has a line for each.
 * Ends the process with 78 (`EX_CONFIG`); the runtime does not report it, whoever runs the program prints `message`.
 */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", {
  problems: Schema.NonEmptyArray(ConfigProblem)
}) {
  override readonly [Runtime.errorExitCode] = 78
  override readonly [Runtime.errorReported] = false
  override get message(): string {
    return this.problems.map(formatProblem).join("\n")
  }
}

/** The settings of this sidecar, decoded and complete. `layers/TomlConfig` reads them from a file and the environment. */
export class SidecarConfig extends Context.Service<SidecarConfig, Settings>()("cy-llm-sidecar/SidecarConfig") {}
