import * as NodeFileSystem from "@effect/platform-node/NodeFileSystem"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import { execFileSync } from "node:child_process"
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { open } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { reloadTold } from "../../src/internal/config/reloadTold.ts"
import * as Sidecar from "../../src/layers/Sidecar.ts"
import * as TomlConfig from "../../src/layers/TomlConfig.ts"
import { ConfigReload } from "../../src/services/ConfigReload.ts"
import { InferenceProxy } from "../../src/services/InferenceProxy.ts"
import { LlmClient } from "../../src/services/LlmClient.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import { SidecarEvents } from "../../src/services/SidecarEvents.ts"
import type { WorkerConnection } from "../../src/services/WorkerConnection.ts"
import { Answer, ScriptedWorker, Simulation } from "../../src/testing.ts"

const request = { model: "m", prompt: "hello" }

/** A sidecar whose settings are in a file that the test writes. */
const withFile = <A, E>(
  text: string,
  run: (write: (text: string) => void) => Effect.Effect<
    A,
    E,
    ConfigReload | InferenceProxy | LlmClient | SidecarConfig | SidecarEvents | WorkerConnection
  >
) =>
  Effect.gen(function*() {
    const folder = mkdtempSync(join(tmpdir(), "live-"))
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
    const write = (text: string) => writeFileSync(join(folder, "sidecar.toml"), text)
    write(text)
    const options = { cwd: folder, env: {} }
    const loaded = yield* TomlConfig.load(options)
    const worker = ScriptedWorker.layer({ answer: Answer.tokens({ tokens: 100, every: "1 second" }) })
    return yield* run(write).pipe(Effect.provide(
      Layer.fresh(Sidecar.layerCore).pipe(
        Layer.provide(Layer.fresh(worker)),
        Layer.provideMerge(TomlConfig.layerLive(loaded, options))
      )
    ))
  }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer))

const reload = Effect.gen(function*() {
  return yield* reloadTold(yield* ConfigReload, (yield* SidecarEvents).tell)
})

const stream = Effect.forkChild(Effect.exit(Stream.runDrain(LlmClient.tokens(request))), { startImmediately: true })

describe("configuration that is read again", () => {
  it.effect("changes the limits of the path of a stream, and lets in who waits", () =>
    withFile("[server]\nmax_worker_streams = 1\n", (write) =>
      Effect.gen(function*() {
        yield* Simulation.connected
        const proxy = yield* InferenceProxy
        yield* stream
        yield* stream
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(proxy.running().map(({ state }) => state), ["at the worker", "queued"])
        write("[server]\nmax_worker_streams = 2\nmax_concurrent_streams = 2\n")
        assert.deepStrictEqual((yield* reload).changed.map(({ key }) => key), [
          "max_concurrent_streams",
          "max_worker_streams"
        ])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(proxy.running().map(({ state }) => state), ["at the worker", "at the worker"])
        assert.isFalse(proxy.ready())
        const refused = yield* stream
        const exit = yield* Fiber.join(refused)
        assert.include(String(exit), "More than 2 streams in flight")
      })))

  it.effect("shortens a time limit for streams that run", () =>
    withFile("", (write) =>
      Effect.gen(function*() {
        yield* Simulation.connected
        const proxy = yield* InferenceProxy
        const answer = yield* stream
        yield* TestClock.adjust("1500 millis")
        write("[server]\nstream_idle_timeout_secs = 0.4\n")
        yield* reload
        yield* TestClock.adjust("400 millis")
        assert.deepStrictEqual(proxy.running(), [])
        assert.include(String(yield* Fiber.join(answer)), "idle")
      })))

  it.effect("is read by one at a time: who reads last is in force", () =>
    Effect.gen(function*() {
      const folder = mkdtempSync(join(tmpdir(), "live-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const [file, next] = [join(folder, "sidecar.toml"), join(folder, "next.toml")]
      writeFileSync(file, "")
      const options = { cwd: folder, env: {} }
      const layer = TomlConfig.layerLive(yield* TomlConfig.load(options), options)
      yield* Effect.gen(function*() {
        const { reload } = yield* ConfigReload
        // A file whose text does not come yet.
        rmSync(file)
        execFileSync("mkfifo", [file])
        const first = yield* Effect.forkChild(reload, { startImmediately: true })
        const pipe = yield* Effect.promise(() => open(file, "w"))
        writeFileSync(next, "[server]\nmax_queued_streams = 2\n")
        renameSync(next, file)
        const second = yield* Effect.forkChild(reload, { startImmediately: true })
        // It has read its file by then, if it does not wait.
        yield* TestClock.withLive(Effect.sleep("50 millis"))
        yield* Effect.promise(() => pipe.writeFile("[server]\nmax_queued_streams = 1\n"))
        yield* Effect.promise(() => pipe.close())
        yield* Fiber.join(first)
        yield* Fiber.join(second)
        assert.strictEqual((yield* SidecarConfig).server.max_queued_streams, 2)
      }).pipe(Effect.provide(layer))
    }).pipe(Effect.scoped, Effect.provide(NodeFileSystem.layer)))

  it.effect("lets no metadata in that would not fit beside the worker's token", () =>
    Effect.gen(function*() {
      const folder = mkdtempSync(join(tmpdir(), "token-"))
      yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
      const file = join(folder, "token")
      writeFileSync(file, "t".repeat(500))
      const server = `[server]\nworker_token_file = ${JSON.stringify(file)}\n`
      yield* withFile(server, (write) =>
        Effect.gen(function*() {
          write(`${server}max_metadata_bytes = 7400\n`)
          assert.include((yield* Effect.flip(reload)).message, "lower [server] max_metadata_bytes by 220")
          assert.strictEqual((yield* SidecarConfig).server.max_metadata_bytes, 7168)
        }))
    }).pipe(Effect.scoped))

  it.effect("changes nothing when the file is wrong, and says why in the log and as an event", () =>
    withFile("[server]\nmax_concurrent_streams = 7\n", (write) =>
      Effect.gen(function*() {
        write("[server]\nmax_concurrent_streams = 9\nmax_queued_streams = \"many\"\n")
        const { message } = yield* Effect.flip(reload)
        assert.strictEqual(
          message,
          "sidecar.toml: [server] max_queued_streams: expected a whole number, 0 or more, got \"many\""
        )
        assert.strictEqual((yield* SidecarConfig).server.max_concurrent_streams, 7)
        write("[server]\nmax_concurrent_streams = 9\ntls_cert = \"/nowhere/a\"\ntls_key = \"/nowhere/b\"\n")
        assert.include((yield* Effect.flip(reload)).message, "[server] tls_cert: cannot read /nowhere/a")
        assert.strictEqual((yield* SidecarConfig).server.max_concurrent_streams, 7)
        write("[server]\nmax_concurrent_streams = 9\nbind_addr = \"127.0.0.1:1\"\n")
        yield* reload
        const { history } = yield* SidecarEvents
        const told = history().filter(({ kind }) => kind === "config")
        assert.deepStrictEqual(told.map(({ reason }) => reason), ["rejected", "rejected", "needs_restart"])
        assert.include(told[0]?.text, message)
        assert.strictEqual(
          told[2]?.text,
          "configuration read again; changed: max_concurrent_streams (7 → 9); " +
            "needs a restart: bind_addr (\"0.0.0.0:50051\" → \"127.0.0.1:1\")"
        )
        assert.strictEqual((yield* SidecarConfig).server.bind_addr, "0.0.0.0:50051")
      })))
})
