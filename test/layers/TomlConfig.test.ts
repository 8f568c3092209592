import { NodeFileSystem, NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect, FileSystem, Layer, Logger, PlatformError, Runtime } from "effect"
import { Command } from "effect/cli"
import { TestConsole } from "effect/testing"
import { check, printSettings } from "../../src/cli/check.ts"
import * as TomlConfig from "../../src/layers/TomlConfig.ts"
import { ConfigError, SidecarConfig } from "../../src/services/SidecarConfig.ts"

/** A folder of its own for each test, with these files in it. */
const folder = Effect.fnUntraced(function*(files: Readonly<Record<string, string | Uint8Array>> = {}) {
  const fs = yield* FileSystem.FileSystem
  const cwd = yield* fs.makeTempDirectoryScoped({ prefix: "sidecar-config-" })
  for (const [name, content] of Object.entries(files)) {
    yield* typeof content === "string"
      ? fs.writeFileString(`${cwd}/${name}`, content)
      : fs.writeFile(`${cwd}/${name}`, content)
  }
  return cwd
})

const lines = (texts: ReadonlyArray<unknown>): ReadonlyArray<string> =>
  texts.flatMap((text) => String(text).split("\n"))

describe("TomlConfig.load", () => {
  it.effect("gives the defaults where there is no file", () =>
    Effect.gen(function*() {
      const loaded = yield* TomlConfig.load({ cwd: yield* folder(), env: {} })
      assert.strictEqual(loaded.file, undefined)
      assert.strictEqual(loaded.settings.server.bind_addr, "0.0.0.0:50051")
      assert.deepStrictEqual(new Set(Object.values(loaded.origins)), new Set(["default"]))
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("reads ./sidecar.toml, and the environment over it", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({
        "sidecar.toml":
          "[server]\nworker_uds = \"unix:///w\"\nbind_addr = \"127.0.0.1:1\"\n[health]\nfailure_threshold = 9"
      })
      const { file, origins, settings } = yield* TomlConfig.load({
        cwd,
        env: { SIDECAR_BIND_ADDR: "127.0.0.1:2", SIDECAR_WORKER_UDS: "", SIDECAR_CONFIG: "", HOME: "/root" }
      })
      assert.strictEqual(file, "sidecar.toml")
      assert.strictEqual(settings.server.bind_addr, "127.0.0.1:2")
      assert.strictEqual(settings.server.worker_uds, "unix:///w")
      assert.strictEqual(settings.health.failure_threshold, 9)
      assert.strictEqual(settings.health.check_interval_secs, 5)
      assert.deepStrictEqual(
        ["bind_addr", "worker_uds", "failure_threshold", "check_interval_secs"].map((key) => origins[key]),
        ["SIDECAR_BIND_ADDR", "sidecar.toml", "sidecar.toml", "default"]
      )
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("reads the file that SIDECAR_CONFIG names and not ./sidecar.toml", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({
        "sidecar.toml": "[health]\nfailure_threshold = 1",
        "custom.toml": "[health]\nfailure_threshold = 2"
      })
      const relative = yield* TomlConfig.load({ cwd, env: { SIDECAR_CONFIG: "custom.toml" } })
      const absolute = yield* TomlConfig.load({ cwd: "/", env: { SIDECAR_CONFIG: `${cwd}/custom.toml` } })
      assert.strictEqual(relative.settings.health.failure_threshold, 2)
      assert.strictEqual(relative.origins["failure_threshold"], "custom.toml")
      assert.strictEqual(absolute.origins["failure_threshold"], `${cwd}/custom.toml`)
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("fails when the named file is missing, and tells the environment's mistakes too", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "sidecar.toml": "" })
      const error = yield* Effect.flip(
        TomlConfig.load({ cwd, env: { SIDECAR_CONFIG: "custom.toml", SIDECAR_METRICS_PORT: "abc" } })
      )
      assert.strictEqual(
        error.message,
        "SIDECAR_CONFIG: custom.toml does not exist; name a TOML file, or unset it to read ./sidecar.toml\n" +
          "SIDECAR_METRICS_PORT: expected a port number (0-65535), got \"abc\""
      )
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("fails with one line for a folder and for a file that is no text", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "latin.toml": new Uint8Array([0x5b, 0xe4, 0x5d]) })
      const folderError = yield* Effect.flip(TomlConfig.load({ cwd, env: {}, file: "." }))
      const textError = yield* Effect.flip(TomlConfig.load({ cwd, env: {}, file: "latin.toml" }))
      assert.strictEqual(folderError.message, ".: is not a file")
      assert.strictEqual(textError.message, "latin.toml: is not UTF-8 text; save it as UTF-8")
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("fails with one line for a default file that may not be read", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(TomlConfig.load({ cwd: "/", env: {} }))
      assert.strictEqual(error.message, "sidecar.toml: may not be read by this user; give it read permission")
    }).pipe(Effect.provide(FileSystem.layerNoop({
      readFile: (path) =>
        Effect.fail(
          PlatformError.systemError({
            _tag: "PermissionDenied",
            module: "FileSystem",
            method: "readFile",
            pathOrDescriptor: path
          })
        )
    }))))
})

describe("ConfigError", () => {
  it.effect("ends the process with 78, unreported, and keeps each mistake apart", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "sidecar.toml": "[health]\ncheck_interval_secs = \"5s\"\nretries = 1" })
      const error = yield* Effect.flip(TomlConfig.load({ cwd, env: { SIDECAR_WIRE: "pigeon" } }))
      assert.instanceOf(error, ConfigError)
      assert.strictEqual(Runtime.getErrorExitCode(error), 78)
      assert.strictEqual(Runtime.getErrorReported(error), false)
      assert.deepStrictEqual(error.problems, [
        {
          source: "sidecar.toml",
          section: "health",
          key: "check_interval_secs",
          message: "expected a positive number, got \"5s\""
        },
        {
          source: "sidecar.toml",
          section: "health",
          key: "retries",
          message: "unknown key; [health] has check_interval_secs, check_timeout_secs, failure_threshold, " +
            "reconnect_delay_secs, max_reconnect_attempts, ready_when"
        },
        { source: "SIDECAR_WIRE", message: "expected one of http2, grpc-js, got \"pigeon\"" }
      ])
      assert.strictEqual(error.message.split("\n").length, 3)
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})

describe("the layers", () => {
  it.effect("log the warnings and give the settings", () =>
    Effect.gen(function*() {
      const cwd = yield* folder()
      const logged: Array<unknown> = []
      const logger = Logger.make(({ message }) => {
        logged.push(message)
      })
      const config = yield* SidecarConfig.pipe(
        Effect.provide(Layer.provideMerge(
          TomlConfig.layerWith({ cwd, env: { SIDECAR_BIND_ADR: "x", SIDECAR_METRICS_PORT: "0" } }),
          Logger.layer([logger])
        ))
      )
      assert.strictEqual(config.observability.metrics_port, 0)
      assert.deepStrictEqual(logged.flat(), [
        "SIDECAR_BIND_ADR: unknown variable, ignored; did you mean SIDECAR_BIND_ADDR?"
      ])
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("take an embedder's part of the settings, and fill in the rest", () =>
    Effect.gen(function*() {
      const config = yield* SidecarConfig.pipe(
        Effect.provide(TomlConfig.layerFrom({ server: { bind_addr: ["127.0.0.1:0"] }, health: {}, reload: undefined }))
      )
      assert.deepStrictEqual(config.server.bind_addr, ["127.0.0.1:0"])
      assert.strictEqual(config.server.max_concurrent_streams, 1000)
      assert.strictEqual(config.reload.hold_timeout_secs, 30)
      const defaults = yield* SidecarConfig.pipe(Effect.provide(TomlConfig.layerFrom()))
      assert.deepStrictEqual(defaults, yield* TomlConfig.settingsFrom({}))
    }))

  it.effect("check an embedder's settings as they check a file", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(TomlConfig.settingsFrom({
        health: { check_interval_secs: 0 },
        observability: { metrics_port: 50_051 }
      }))
      assert.strictEqual(
        error.message,
        "settings: [health] check_interval_secs: expected a positive number, got 0\n" +
          "settings: [observability] metrics_port: port 50051 is both metrics_port's and bind_addr's; each needs its own"
      )
    }))
})

describe("sidecar check", () => {
  it.effect("prints TOML that loads to the same settings, each value with its origin", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const cwd = yield* folder({ "sidecar.toml": "[metering]\nnotice_prefixes = [\"[模型加载]\", \"[x]\"]" })
      const env = { SIDECAR_BIND_ADDR: "127.0.0.1:1", SIDECAR_BIND_ADR: "x", SIDECAR_TEAM: "x" }
      yield* printSettings({ cwd, env })
      const printed = lines(yield* TestConsole.logLines)
      assert.strictEqual(
        printed[0],
        "# The configuration is right: 1 from sidecar.toml, 1 from the environment, the rest by default."
      )
      const row = (key: string) => printed.find((line) => line.replace(/^# /, "").startsWith(`${key} `)) ?? ""
      assert.match(row("bind_addr"), /^bind_addr {21}= "127\.0\.0\.1:1" +# SIDECAR_BIND_ADDR$/)
      assert.match(row("notice_prefixes"), /# sidecar\.toml$/)
      assert.match(row("metrics_port"), /^metrics_port {18}= 9090 +# default$/)
      assert.match(row("tls_cert"), /^# tls_cert {20}= none +# default$/)
      assert.strictEqual(row("wire"), "")
      const columns = printed.filter((line) => / = /.test(line) && !line.includes("模")).map((line) =>
        line.lastIndexOf("#")
      )
      assert.strictEqual(new Set(columns).size, 1)
      assert.deepStrictEqual(yield* TestConsole.errorLines, [
        "warning: SIDECAR_BIND_ADR: unknown variable, ignored; did you mean SIDECAR_BIND_ADDR?",
        "note: SIDECAR_TEAM means nothing to the sidecar"
      ])
      yield* fs.writeFileString(`${cwd}/printed.toml`, printed.join("\n"))
      const again = yield* TomlConfig.load({ cwd, env: {}, file: "printed.toml" })
      assert.deepStrictEqual(again.settings, (yield* TomlConfig.load({ cwd, env })).settings)
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("shows no secret, in text and in JSON", () =>
    Effect.gen(function*() {
      const cwd = yield* folder()
      const env = { SIDECAR_BILLING_ENDPOINT: "https://me:hunter2@billing.example/v1?token=hunter3" }
      yield* printSettings({ cwd, env })
      yield* printSettings({ cwd, env, json: true })
      const printed = (yield* TestConsole.logLines).join("\n")
      assert.notMatch(printed, /hunter/)
      assert.strictEqual(printed.split("https://***@billing.example/v1?token=***").length, 3)
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("prints JSON for programs", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "sidecar.toml": "[health]\nfailure_threshold = 9" })
      yield* printSettings({ cwd, env: { SIDECAR_LOG_LEVEL: "debug", SIDECAR_TEAM: "x" }, json: true })
      const report = JSON.parse(String((yield* TestConsole.logLines)[0]))
      assert.strictEqual(report.ok, true)
      assert.strictEqual(report.file, "sidecar.toml")
      assert.deepStrictEqual(report.settings.health.failure_threshold, { value: 9, origin: "sidecar.toml" })
      assert.deepStrictEqual(report.settings.observability.log_level, { value: "debug", origin: "SIDECAR_LOG_LEVEL" })
      assert.deepStrictEqual(report.settings.server.tls_cert, { value: null, origin: "default" })
      assert.deepStrictEqual(report.ignored, ["SIDECAR_TEAM"])
      assert.deepStrictEqual(yield* TestConsole.errorLines, [])
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("prints the mistakes as JSON, and fails with them", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "sidecar.toml": "[health]\nfailure_threshold = 0" })
      const error = yield* Effect.flip(printSettings({ cwd, env: {}, json: true }))
      assert.strictEqual(Runtime.getErrorExitCode(error), 78)
      assert.deepStrictEqual(JSON.parse(String((yield* TestConsole.logLines)[0])), {
        ok: false,
        problems: [{
          source: "sidecar.toml",
          section: "health",
          key: "failure_threshold",
          message: "expected a positive whole number, got 0",
          line: "sidecar.toml: [health] failure_threshold: expected a positive whole number, got 0"
        }]
      })
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("is a command that takes the file's name", () =>
    Effect.gen(function*() {
      const cwd = yield* folder({ "good.toml": "", "bad.toml": "[helth]" })
      const run = Command.runWith(check, { version: "0.0.0" })
      yield* run([`${cwd}/good.toml`])
      assert.match(String((yield* TestConsole.logLines)[0]), new RegExp(`right: 0 from ${cwd}/good.toml`))
      const error = yield* Effect.flip(run(["--json", `${cwd}/bad.toml`]))
      assert.strictEqual(error.message, `${cwd}/bad.toml: [helth]: unknown section; did you mean [health]?`)
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe("TomlConfig.layerConfigProvider", () => {
  const settings = (provider: ConfigProvider.ConfigProvider) =>
    SidecarConfig.useSync((settings) => settings).pipe(
      Effect.provide(TomlConfig.layerConfigProvider),
      Effect.provideService(ConfigProvider.ConfigProvider, provider)
    )

  it.effect("reads the application's own tree", () =>
    Effect.gen(function*() {
      const { reload, server } = yield* settings(
        ConfigProvider.fromUnknown({
          app: {
            sidecar: { worker_uds: "unix:///run/w.sock", max_held_streams: "7", bind_addr: "127.0.0.1:1, 127.0.0.1:2" }
          }
        }).pipe(ConfigProvider.nested("sidecar"), ConfigProvider.nested("app"))
      )
      assert.strictEqual(server.worker_uds, "unix:///run/w.sock")
      assert.deepStrictEqual(server.bind_addr, ["127.0.0.1:1", "127.0.0.1:2"])
      assert.strictEqual(reload.max_held_streams, 7)
      assert.strictEqual(reload.hold_timeout_secs, 30)
    }))

  it.effect("reads variables, and tells every mistake at once", () =>
    Effect.gen(function*() {
      const env = ConfigProvider.fromEnv({
        env: { APP_WORKER_UDS: "unix:///run/w.sock", APP_MAX_HELD_STREAMS: "many", APP_DURABILITY: "no" }
      }).pipe(ConfigProvider.constantCase, ConfigProvider.nested("APP"))
      const error = yield* Effect.flip(settings(env))
      assert.deepStrictEqual(error.problems.map(({ message }) => message.slice(0, 8)), ["expected", "expected"])
    }))
})
