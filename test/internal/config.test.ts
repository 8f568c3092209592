import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { Toml } from "effect/encoding"
import { readFileSync } from "node:fs"
import { readSettings, readToml } from "../../src/internal/config/document.ts"
import { type Env, readEnvironment } from "../../src/internal/config/environment.ts"
import { keys, sections } from "../../src/internal/config/keys.ts"
import { nearest, related } from "../../src/internal/config/nearest.ts"
import { resolve } from "../../src/internal/config/resolve.ts"
import { maskSecrets, showBriefly, showValue } from "../../src/internal/config/show.ts"
import { parseBindAddress, parseWorkerAddress } from "../../src/services/Address.ts"
import { formatProblem } from "../../src/services/SidecarConfig.ts"

const read = (toml: string, env: Env = {}) =>
  resolve([
    { reading: readToml("sidecar.toml", toml), origin: () => "sidecar.toml" },
    { reading: readEnvironment(env), origin: (key) => key.env }
  ])

/** The lines somebody would see. */
const mistakes = (toml: string, env: Env = {}): ReadonlyArray<string> =>
  Result.match(read(toml, env), { onFailure: (problems) => problems.map(formatProblem), onSuccess: () => [] })

const settings = (toml: string, env: Env = {}) =>
  Result.getOrThrowWith(read(toml, env), (problems) => {
    throw new Error(problems.map(formatProblem).join("\n"))
  }).settings

describe("the root's sidecar.toml", () => {
  const text = readFileSync(new URL("../../sidecar.toml", import.meta.url), "utf8")
  const document = Result.getOrThrow(Toml.parse(text))
  const uncommented = Result.getOrThrow(Toml.parse(text.replaceAll(/^# (\w+ = )/gm, "$1")))
  const asMap = (tables: Record<string, unknown>) =>
    Object.fromEntries(Object.entries(tables).map(([section, table]) => [section, { ...Object(table) }]))

  it("has every key of the schema with exactly its default", () => {
    const expected = Object.fromEntries(sections.map((section) => [
      section,
      Object.fromEntries(
        keys.filter((key) => key.section === section && key.fallback !== undefined).map((
          key
        ) => [key.key, key.fallback])
      )
    ]))
    assert.deepStrictEqual(asMap(document), expected)
  })

  it("shows the keys without a default as comments, in the order of the schema", () => {
    const shown = Object.entries(asMap(uncommented)).flatMap(([section, table]) =>
      Object.keys(table).map((key) => `${section}.${key}`)
    )
    assert.deepStrictEqual(shown, keys.filter((key) => !key.hidden).map((key) => `${key.section}.${key.key}`))
  })

  it("gives examples that are right values", () => {
    assert.deepStrictEqual(readSettings("sidecar.toml", uncommented).problems, [])
  })
})

describe("the keys", () => {
  it("have names that are unique across the sections", () => {
    assert.strictEqual(new Set(keys.map((key) => key.key)).size, keys.length)
  })

  it("all say what they expect", () => {
    assert.deepStrictEqual(keys.filter((key) => key.expected === "a value"), [])
  })

  it("accept their own defaults", () => {
    assert.deepStrictEqual(
      keys.filter((key) => key.fallback !== undefined && key.accept(key.fallback)._tag === "None").map((key) =>
        key.key
      ),
      []
    )
  })
})

describe("a mistake in the file", () => {
  it.each([
    ["[health]\ncheck_interval_secs = \"5s\"", "[health] check_interval_secs: expected a positive number, got \"5s\""],
    [
      "[health]\ncheck_interval_secs = \"5\"",
      "[health] check_interval_secs: expected a positive number, got \"5\" (without the quotes it is right)"
    ],
    ["[health]\ncheck_interval_secs = 0", "[health] check_interval_secs: expected a positive number, got 0"],
    ["[health]\ncheck_interval_secs = inf", "[health] check_interval_secs: expected a positive number, got inf"],
    ["[health]\ncheck_interval_secs = nan", "[health] check_interval_secs: expected a positive number, got nan"],
    ["[health]\nfailure_threshold = 1.5", "[health] failure_threshold: expected a positive whole number, got 1.5"],
    ["[health]\nfailure_threshold = true", "[health] failure_threshold: expected a positive whole number, got true"],
    [
      "[server]\ndrain_timeout_secs = -1",
      "[server] drain_timeout_secs: expected a number, 0 or more, got -1"
    ],
    [
      "[server]\nmax_message_bytes = 2147483648",
      "[server] max_message_bytes: expected a whole number of bytes from 1 to 2147483647, got 2147483648"
    ],
    [
      "[server]\nrequire_end_of_stream = 1",
      "[server] require_end_of_stream: expected true or false, got 1"
    ],
    [
      "[server]\nbind_addr = []",
      "[server] bind_addr: expected host:port, [ipv6]:port or unix:///path, one or a list, got []"
    ],
    [
      "[server]\nbind_addr = [\"0.0.0.0:1\", \"nowhere\"]",
      "[server] bind_addr: expected host:port, [ipv6]:port or unix:///path, one or a list, got [\"0.0.0.0:1\", \"nowhere\"]"
    ],
    [
      "[server]\nworker_uds = \"localhost:50051\"",
      "[server] worker_uds: expected a socket such as unix:///tmp/cy_worker.sock with a path of at most 107 bytes, or tcp://host:port, got \"localhost:50051\""
    ],
    ["[server]\ntls_cert = \"\"", "[server] tls_cert: expected the path of a file, got \"\""],
    [
      "[metering]\nbilling_endpoint = \"billing.example.com\"",
      "[metering] billing_endpoint: expected an http:// or https:// URL, or nats://host:port/subject, got \"billing.example.com\""
    ],
    [
      "[metering]\nbilling_endpoint = \"ftp://u:secret@x/\"",
      "[metering] billing_endpoint: expected an http:// or https:// URL, or nats://host:port/subject, got \"ftp://***@x/\""
    ],
    ["[metering]\ndurability = \"crsh\"", "[metering] durability: expected one of crash, power-loss, got \"crsh\""],
    [
      "[metering]\nnotice_prefixes = [1, 2]",
      "[metering] notice_prefixes: expected a list of non-empty texts, got [1, 2]"
    ],
    [
      "[metering]\njournal_path = { a = 1, \"b c\" = 1979-05-27T07:32:00Z }",
      "[metering] journal_path: expected the path of a file, got { a = 1, \"b c\" = 1979-05-27T07:32:00.000Z }"
    ],
    [
      "[observability]\nmetrics_port = 65536",
      "[observability] metrics_port: expected a port number (0-65535), got 65536"
    ],
    [
      "[observability]\nlog_level = \"INFO\"",
      "[observability] log_level: expected one of trace, debug, info, warn, error, got \"INFO\""
    ],
    [
      "[observability]\nmetrics_host = \"http://x\"",
      "[observability] metrics_host: expected a host name or an IP address, got \"http://x\""
    ],
    ["[server]\nbind_adr = \"x\"", "[server] bind_adr: unknown key; did you mean bind_addr?"],
    ["[server]\nbind-addr = \"x\"", "[server] bind-addr: unknown key; did you mean bind_addr?"],
    ["[metering]\nbilling_url = \"x\"", "[metering] billing_url: unknown key; did you mean billing_endpoint?"],
    ["[server]\ncheck_interval_secs = 5", "[server] check_interval_secs: unknown key here; it belongs under [health]"],
    ["[server]\nlog_levl = \"info\"", "[server] log_levl: unknown key; did you mean [observability] log_level?"],
    ["[circuit_breaker]\nzzz = 5", "[circuit_breaker] zzz: unknown key; [circuit_breaker] has trip_after, open_secs"],
    ["[server.tls]\ncert = \"x\"", "[server] tls: unknown key; did you mean tls_cert?"],
    ["[grpc]\nbind_addr = \"127.0.0.1:1\"", "[grpc]: unknown section; did you mean [server]?"],
    ["[metrics.http]\nport = 1", "[metrics]: unknown section; did you mean [observability]?"],
    ["[helth]\ncheck_interval_secs = 1", "[helth]: unknown section; did you mean [health]?"],
    [
      "[zzz]",
      "[zzz]: unknown section; the sections are [server], [health], [reload], [tenants], [circuit_breaker], [metering], [observability]"
    ],
    ["bind_addr = \"x\"", "bind_addr: stands outside of its section; it belongs under [server]"],
    ["bind_adr = \"x\"", "bind_adr: unknown key, outside of any section; did you mean [server] bind_addr?"],
    ["server = 1", "[server]: expected one table [server], got 1"],
    ["[[server]]\nbind_addr = \"x\"", "[server]: expected one table [server], got tables"],
    ["__proto__ = 1", "__proto__: unknown key, outside of any section"],
    [
      "[constructor]",
      "[constructor]: unknown section; the sections are [server], [health], [reload], [tenants], [circuit_breaker], [metering], [observability]"
    ]
  ])("is told in one line: %s", (toml, line) => {
    assert.deepStrictEqual(mistakes(toml), [`sidecar.toml: ${line}`])
  })

  it.each([
    [
      "[server]\nbind_addr = 0.0.0.0:50051",
      "2:13: 0.0.0.0:50051 is no TOML value: text needs quotes, a number has no unit"
    ],
    ["[health]\ncheck_interval_secs = 5s", "2:23: 5s is no TOML value: text needs quotes, a number has no unit"],
    ["[server]\nbind_addr = \"x\"\nbind_addr = \"y\"", "3:1: bind_addr stands there twice"],
    ["[server]\n\n[health]\n[server]", "4:1: the table [server] stands there twice"],
    ["[server\nbind_addr = 1", "1:8: expected ']'"],
    ["[server]\nbind_addr = \"x", "2:15: unterminated basic string"],
    ["[server]\nbind_addr", "2:10: expected '='"],
    ["a = 99999999999999999999", "1:5: integer out of range '99999999999999999999'"]
  ])("that is no TOML is told with line and column: %s", (toml, line) => {
    assert.deepStrictEqual(mistakes(toml), [`sidecar.toml:${line}`])
  })

  it("does not hide the others, of file and environment", () => {
    assert.deepStrictEqual(
      mistakes(
        "[server]\nbind_adr = 1\nmax_held_streams = 1\n[health]\ncheck_interval_secs = \"5s\"\n[observability]\nmetrics_port = -1",
        { SIDECAR_METRICS_PORT: "abc", SIDECAR_LOG_LEVEL: "loud" }
      ),
      [
        "sidecar.toml: [server] bind_adr: unknown key; did you mean bind_addr?",
        "sidecar.toml: [server] max_held_streams: unknown key here; it belongs under [reload]",
        "sidecar.toml: [health] check_interval_secs: expected a positive number, got \"5s\"",
        "sidecar.toml: [observability] metrics_port: expected a port number (0-65535), got -1",
        "SIDECAR_LOG_LEVEL: expected one of trace, debug, info, warn, error, got \"loud\"",
        "SIDECAR_METRICS_PORT: expected a port number (0-65535), got \"abc\""
      ]
    )
  })

  it("in the syntax does not hide those of the environment", () => {
    assert.deepStrictEqual(mistakes("[server", { SIDECAR_METRICS_PORT: "abc", SIDECAR_TLS_KEY: "/k" }), [
      "sidecar.toml:1:8: expected ']'",
      "SIDECAR_METRICS_PORT: expected a port number (0-65535), got \"abc\""
    ])
  })
})

describe("the TOML that people write", () => {
  it("is understood", () => {
    const { metering, observability, reload, server } = settings(
      `
# a comment
server.max_message_bytes = 1_048_576   # dotted key, underscores
metering = { durability = "power-loss", notice_prefixes = [] } # inline table
[reload]
hold_notice = """\\
  [System] \\u2026 "wait" \\
  {eta}s"""
max_held_bytes = 0x10_00
hold_timeout_secs = 2.5e1
[observability]
metrics_host = '::1'
log_level = "debug"\r
`.replace(
        "server.max_message_bytes",
        "server.bind_addr = [\n  \"127.0.0.1:0\", # one\n  'unix:///run/x.sock',\n]\nserver.max_message_bytes"
      )
    )
    assert.deepStrictEqual(server.bind_addr, ["127.0.0.1:0", "unix:///run/x.sock"])
    assert.strictEqual(server.max_message_bytes, 1_048_576)
    assert.strictEqual(reload.hold_notice, "[System] … \"wait\" {eta}s")
    assert.strictEqual(reload.max_held_bytes, 4096)
    assert.strictEqual(reload.hold_timeout_secs, 25)
    assert.strictEqual(metering.durability, "power-loss")
    assert.deepStrictEqual(metering.notice_prefixes, [])
    assert.strictEqual(observability.metrics_host, "::1")
    assert.strictEqual(observability.log_level, "debug")
  })

  it("may be empty, or start with a byte order mark", () => {
    assert.strictEqual(settings("").health.check_interval_secs, 5)
    assert.strictEqual(settings("\uFEFF[health]\ncheck_interval_secs = 7").health.check_interval_secs, 7)
  })
})

describe("the environment", () => {
  it("wins over the file, key by key", () => {
    const resolved = Result.getOrThrow(
      read("[server]\nworker_uds = \"unix:///a\"\nbind_addr = \"127.0.0.1:1\"", { SIDECAR_BIND_ADDR: "127.0.0.1:2" })
    )
    assert.strictEqual(resolved.settings.server.bind_addr, "127.0.0.1:2")
    assert.strictEqual(resolved.settings.server.worker_uds, "unix:///a")
    assert.strictEqual(resolved.origins["bind_addr"], "SIDECAR_BIND_ADDR")
    assert.strictEqual(resolved.origins["worker_uds"], "sidecar.toml")
    assert.strictEqual(resolved.origins["metrics_port"], "default")
    assert.deepStrictEqual(Object.keys(resolved.origins), keys.map((key) => key.key))
  })

  it("has a variable for each key", () => {
    const samples: Env = {
      SIDECAR_BIND_ADDR: "[::1]:7",
      SIDECAR_MAX_MESSAGE_BYTES: "1_000",
      SIDECAR_CHECK_INTERVAL_SECS: " 0.5 ",
      SIDECAR_REQUIRE_END_OF_STREAM: "No",
      SIDECAR_HOLD_NOTICE: "5",
      SIDECAR_DURABILITY: "POWER-LOSS",
      SIDECAR_LOG_LEVEL: "DEBUG",
      SIDECAR_TLS_CERT: "/c.pem",
      SIDECAR_TLS_KEY: "/k.pem",
      SIDECAR_WIRE: "grpc-js"
    }
    const { health, metering, observability, reload, server } = settings("", samples)
    assert.strictEqual(server.bind_addr, "[::1]:7")
    assert.strictEqual(server.max_message_bytes, 1000)
    assert.strictEqual(health.check_interval_secs, 0.5)
    assert.strictEqual(server.require_end_of_stream, false)
    assert.strictEqual(reload.hold_notice, "5")
    assert.strictEqual(metering.durability, "power-loss")
    assert.strictEqual(observability.log_level, "debug")
    assert.strictEqual(server.tls_cert, "/c.pem")
    assert.strictEqual(server.wire, "grpc-js")
    const everyKey = Object.fromEntries(keys.map((key) => [key.env, "\0"]))
    const named = readEnvironment(everyKey)
    assert.strictEqual(named.problems.length + named.values.size, keys.length)
  })

  it.each<[string, string | ReadonlyArray<string>]>([
    ["127.0.0.1:1", "127.0.0.1:1"],
    ["127.0.0.1:1,unix:///x", ["127.0.0.1:1", "unix:///x"]],
    [" 127.0.0.1:1 , [::]:1, ", ["127.0.0.1:1", "[::]:1"]],
    ["[\"127.0.0.1:1\", \"unix:///x\"]", ["127.0.0.1:1", "unix:///x"]],
    ["['127.0.0.1:1']", ["127.0.0.1:1"]],
    ["[::]:1", "[::]:1"],
    ["[::]:1,[::1]:2", ["[::]:1", "[::1]:2"]]
  ])("gives addresses as a list with commas or as an array: %s", (text, expected) => {
    assert.deepStrictEqual(settings("", { SIDECAR_BIND_ADDR: text }).server.bind_addr, expected)
  })

  it.each<[string, ReadonlyArray<string>]>([
    ["[模型加载]", ["[模型加载]"]],
    ["[模型加载],[System]", ["[模型加载]", "[System]"]],
    ["[\"[模型加载]\", \"a, b \"]", ["[模型加载]", "a, b "]],
    ["loading", ["loading"]],
    ["[]", []]
  ])("gives notice prefixes, which may start with a bracket themselves: %s", (text, expected) => {
    assert.deepStrictEqual(settings("", { SIDECAR_NOTICE_PREFIXES: text }).metering.notice_prefixes, expected)
  })

  it.each([
    ["SIDECAR_METRICS_PORT", "abc", "expected a port number (0-65535), got \"abc\""],
    ["SIDECAR_METRICS_PORT", "0x1F", "expected a port number (0-65535), got \"0x1F\""],
    ["SIDECAR_CHECK_INTERVAL_SECS", "5s", "expected a positive number, got \"5s\""],
    ["SIDECAR_REQUIRE_END_OF_STREAM", "maybe", "expected true or false, got \"maybe\""],
    [
      "SIDECAR_BIND_ADDR",
      "127.0.0.1:1,x",
      "expected host:port, [ipv6]:port or unix:///path, one or a list, got \"127.0.0.1:1,x\""
    ],
    ["SIDECAR_BIND_ADDR", "[1, 2]", "expected host:port, [ipv6]:port or unix:///path, one or a list, got \"[1, 2]\""],
    ["SIDECAR_OTLP_ENDPOINT", "http://", "expected an http:// or https:// URL, got \"http://\""],
    ["SIDECAR_WIRE", "http3", "expected one of http2, grpc-js, got \"http3\""]
  ])("is told its mistakes by the variable's name: %s=%s", (name, text, message) => {
    assert.deepStrictEqual(mistakes("", { [name]: text }), [`${name}: ${message}`])
  })

  it("counts an empty variable as not set", () => {
    const env = Object.fromEntries(keys.map((key) => [key.env, ""]))
    assert.deepStrictEqual(settings("[reload]\nhold_notice = \"x\"", env), settings("[reload]\nhold_notice = \"x\""))
  })

  it("warns of a variable that looks like a slip, and starts all the same", () => {
    const reading = readEnvironment({
      SIDECAR_BIND_ADR: "127.0.0.1:1",
      SIDECAR_METRIC_PORT: "1",
      SIDECAR_CONFG: "x",
      SIDECAR_TEAM: "x",
      SIDECAR_WIR: "http2",
      UNRELATED: "1"
    })
    assert.deepStrictEqual(reading.warnings, [
      "SIDECAR_BIND_ADR: unknown variable, ignored; did you mean SIDECAR_BIND_ADDR?",
      "SIDECAR_CONFG: unknown variable, ignored; did you mean SIDECAR_CONFIG?",
      "SIDECAR_METRIC_PORT: unknown variable, ignored; did you mean SIDECAR_METRICS_PORT?"
    ])
    assert.deepStrictEqual(reading.ignored, ["SIDECAR_TEAM", "SIDECAR_WIR"])
    assert.deepStrictEqual(reading.problems, [])
  })

  it("does not take the variables of Kubernetes Services for ours", () => {
    const reading = readEnvironment({
      SIDECAR_SERVICE_HOST: "10.0.0.7",
      SIDECAR_SERVICE_PORT: "50051",
      SIDECAR_SERVICE_PORT_GRPC: "50051",
      SIDECAR_PORT: "tcp://10.0.0.7:50051",
      SIDECAR_PORT_50051_TCP: "tcp://10.0.0.7:50051",
      SIDECAR_PORT_50051_TCP_PROTO: "tcp",
      SIDECAR_PORT_50051_TCP_PORT: "50051",
      SIDECAR_PORT_50051_TCP_ADDR: "10.0.0.7",
      SIDECAR_METRICS_SERVICE_HOST: "10.0.0.8",
      SIDECAR_METRICS_PORT_9090_TCP_ADDR: "10.0.0.8"
    })
    assert.deepStrictEqual([...reading.warnings, ...reading.ignored, ...reading.problems], [])
    assert.strictEqual(reading.values.size, 0)
  })

  it("survives a Kubernetes Service named sidecar-metrics, whose link has the name of a key", () => {
    const reading = readEnvironment({ SIDECAR_METRICS_PORT: "tcp://10.0.0.8:9090" })
    assert.deepStrictEqual(reading.warnings, [
      "SIDECAR_METRICS_PORT: \"tcp://10.0.0.8:9090\" comes from a Kubernetes Service and was ignored; " +
      "set enableServiceLinks: false in the pod, or set [observability] metrics_port in the file"
    ])
    assert.deepStrictEqual(reading.problems, [])
    assert.strictEqual(reading.values.size, 0)
  })
})

describe("settings that contradict each other", () => {
  it.each<[string, Env, ReadonlyArray<string>]>([
    ["[server]\ntls_cert = \"/c\"", {}, [
      "sidecar.toml: [server] tls_cert: is set without tls_key; set both, or none for plaintext"
    ]],
    ["", { SIDECAR_TLS_KEY: "/k" }, ["SIDECAR_TLS_KEY: is set without tls_cert; set both, or none for plaintext"]],
    ["[server]\ntls_client_ca = \"/ca\"", {}, [
      "sidecar.toml: [server] tls_client_ca: is set without tls_cert and tls_key; client certificates need TLS: set all three"
    ]],
    ["[server]\ntls_cert = \"/c\"\ntls_client_ca = \"/ca\"", { SIDECAR_TLS_KEY: "/k" }, []],
    ["[server]\nbind_addr = \"0.0.0.0:9090\"", {}, [
      "sidecar.toml: [server] bind_addr: port 9090 is both metrics_port's and bind_addr's; each needs its own"
    ]],
    ["[server]\nbind_addr = \"127.0.0.1:9090\"", { SIDECAR_METRICS_HOST: "127.0.0.2" }, []],
    ["", { SIDECAR_METRICS_PORT: "50051" }, [
      "SIDECAR_METRICS_PORT: port 50051 is both metrics_port's and bind_addr's; each needs its own"
    ]],
    ["[server]\nbind_addr = \"127.0.0.1:0\"\n[observability]\nmetrics_port = 0", {}, []],
    ["[server]\nbind_addr = [\"[::1]:1\", \"unix:///x\", \"[::1]:1\"]", {}, [
      "sidecar.toml: [server] bind_addr: [::1]:1 is listed twice"
    ]],
    ["[server]\nbind_addr = [\"127.0.0.1:0\", \"127.0.0.1:0\"]", {}, []],
    ["[server]\nbind_addr = [\"0.0.0.0:1\", \"[::]:1\"]", {}, [
      "sidecar.toml: [server] bind_addr: [::]:1 takes in 0.0.0.0:1: list [::]:1 alone"
    ]],
    ["[server]\nbind_addr = [\"0.0.0.0:1\", \"[::1]:1\", \"[::]:2\", \"[::]:0\", \"0.0.0.0:0\"]", {}, []],
    ["[metering]\njournal_path = \":memory:\"", {}, [
      "sidecar.toml: [metering] journal_path: expected the path of a file, got \":memory:\": SQLite's own names keep no usage"
    ]],
    ["", { SIDECAR_JOURNAL_PATH: "file:usage.sqlite?mode=memory" }, [
      "SIDECAR_JOURNAL_PATH: expected the path of a file, got \"file:usage.sqlite?mode=memory\": SQLite's own names keep no usage"
    ]],
    ["", { SIDECAR_BILLING_ENDPOINT: "http://user:100%@127.0.0.1:9/v1" }, [
      "SIDECAR_BILLING_ENDPOINT: has a % in its user name or password that begins no escape; write % as %25"
    ]],
    ["[observability]\notlp_endpoint = \"http://%zz@c:4318\"", {}, [
      "sidecar.toml: [observability] otlp_endpoint: has a % in its user name or password that begins no escape; "
      + "write % as %25"
    ]],
    ["", { SIDECAR_BILLING_ENDPOINT: "http://user:100%25@127.0.0.1:9/v1%" }, []]
  ])("are told where they were set: %s %o", (toml, env, lines) => {
    assert.deepStrictEqual(mistakes(toml, env), lines)
  })

  it("are not told as a consequence of another mistake", () => {
    assert.deepStrictEqual(mistakes("[server]\ntls_cert = \"/c\"\ntls_kye = \"/k\""), [
      "sidecar.toml: [server] tls_kye: unknown key; did you mean tls_key?"
    ])
    assert.deepStrictEqual(mistakes("[server]\ntls_cert = \"/c\"\ntls_key = 1"), [
      "sidecar.toml: [server] tls_key: expected the path of a file, got 1"
    ])
  })
})

describe("the journal's path", () => {
  it.each([":memory:", "file:usage.sqlite?mode=memory", "file:///var/lib/usage.sqlite", " :MEMORY: "])(
    "is none of the names that are no files to SQLite: %j",
    (path) => {
      assert.deepStrictEqual(mistakes("", { SIDECAR_JOURNAL_PATH: path }), [
        `SIDECAR_JOURNAL_PATH: expected the path of a file, got ${
          JSON.stringify(path)
        }: SQLite's own names keep no usage`
      ])
    }
  )

  it.each(["memory", "./:memory:", "files/usage.sqlite"])("may be %s", (path) => {
    assert.deepStrictEqual(mistakes("", { SIDECAR_JOURNAL_PATH: path }), [])
  })
})

describe("addresses", () => {
  it.each([
    ["0.0.0.0:50051", { _tag: "Tcp", host: "0.0.0.0", port: 50051 }],
    ["localhost:0", { _tag: "Tcp", host: "localhost", port: 0 }],
    ["my_host-1.example:65535", { _tag: "Tcp", host: "my_host-1.example", port: 65535 }],
    ["[::]:1", { _tag: "Tcp", host: "::", port: 1 }],
    ["[fe80::1%eth0]:1", { _tag: "Tcp", host: "fe80::1%eth0", port: 1 }],
    ["[::ffff:1.2.3.4]:1", { _tag: "Tcp", host: "::ffff:1.2.3.4", port: 1 }],
    ["unix:///run/a b.sock", { _tag: "Unix", path: "/run/a b.sock" }],
    ["", undefined],
    [":50051", undefined],
    ["50051", undefined],
    ["localhost", undefined],
    ["localhost:", undefined],
    ["localhost:65536", undefined],
    ["localhost:-1", undefined],
    ["localhost:1x", undefined],
    ["::1:50051", undefined],
    ["[localhost]:1", undefined],
    ["[::1]", undefined],
    ["http://localhost:1", undefined],
    ["local host:1", undefined],
    ["-x:1", undefined],
    ["unix:/run/x", undefined],
    ["unix://run/x", undefined],
    ["unix:///", undefined],
    [`unix:///${"x".repeat(107)}`, undefined]
  ])("of the gateways' side: %s", (text, expected) => {
    assert.deepStrictEqual(parseBindAddress(text), expected)
  })

  it.each([
    ["unix:///tmp/cy_worker.sock", "/tmp/cy_worker.sock"],
    ["unix:/tmp/w.sock", "/tmp/w.sock"],
    ["unix:w.sock", "w.sock"],
    ["/tmp/w.sock", "/tmp/w.sock"],
    [`/${"x".repeat(106)}`, `/${"x".repeat(106)}`],
    [`/${"x".repeat(107)}`, undefined],
    [`/${"模".repeat(36)}`, undefined],
    ["w.sock", undefined],
    ["unix:", undefined],
    ["unix://", undefined],
    ["unix:///", undefined],
    ["unix://host/w.sock", undefined],
    ["127.0.0.1:50052", undefined],
    ["", undefined]
  ])("of the worker: %s", (text, expected) => {
    assert.deepStrictEqual(
      parseWorkerAddress(text),
      expected === undefined ? undefined : { _tag: "Unix", path: expected }
    )
  })

  it.each(
    [
      ["tcp://worker:50052", { _tag: "Tcp", host: "worker", port: 50_052 }],
      ["tcp://[::1]:50052", { _tag: "Tcp", host: "::1", port: 50_052 }],
      ["tcp://worker", undefined],
      ["tcp://worker:0", undefined],
      ["tcp://:50052", undefined],
      ["tcp://unix:///w.sock", undefined]
    ] as const
  )("of a worker on TCP: %s", (text, expected) => {
    assert.deepStrictEqual(parseWorkerAddress(text), expected)
  })
})

describe("a suggestion", () => {
  const names = keys.map((key) => key.key)

  it.each([
    ["bind_adr", "bind_addr"],
    ["bnid_addr", "bind_addr"],
    ["BIND-ADDR", "bind_addr"],
    ["workeruds", "worker_uds"],
    ["max_conncurent_streams", "max_concurrent_streams"],
    ["reload_secs", "max_reload_secs"],
    ["check_intervall", "check_interval_secs"],
    ["zzz", undefined],
    ["x", undefined]
  ])("is near: %s", (word, expected) => {
    assert.strictEqual(nearest(word, names), expected)
  })

  it("is by the rarest shared word when nothing is near", () => {
    assert.strictEqual(related("billing_url", names), "billing_endpoint")
    assert.strictEqual(related("worker_socket", names), "worker_uds")
    assert.strictEqual(related("zzz", names), undefined)
  })
})

describe("a value that is shown", () => {
  it.each<[unknown, string]>([
    ["a\n\"b\" \u007F模", "\"a\\n\\\"b\\\" \\u007F模\""],
    [[1, "x", true], "[1, \"x\", true]"],
    [{}, "{}"],
    [-Infinity, "-inf"],
    [0.5, "0.5"]
  ])("is spelt as TOML does: %o", (value, expected) => {
    assert.strictEqual(showValue(value), expected)
    assert.isTrue(Result.isSuccess(Toml.parse(`v = ${showValue(value)}`)))
  })

  it.each([
    ["https://user:pass@x.example/a?b=1", "https://***@x.example/a?b=1"],
    ["https://token@x.example/", "https://***@x.example/"],
    ["https://x/?api_key=abc&b=2#f", "https://x/?api_key=***&b=2#f"],
    ["postgres://u:p@ss@host/db", "postgres://***@host/db"],
    ["https://u:p\"w ?/#@host/v1", "https://***@host/v1"],
    ["no secret: a@b", "no secret: a@b"]
  ])("has no secret: %s", (text, expected) => {
    assert.strictEqual(maskSecrets(text), expected)
  })

  it("is short in a message", () => {
    assert.strictEqual(showBriefly("x".repeat(1000)), `"${"x".repeat(119)}… (1002 characters)`)
  })
})
