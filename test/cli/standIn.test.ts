import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as AiClient from "../../src/internal/client/aiClient.ts"
import { answerTo, loadingNotices, tokenize } from "../../src/standin/answer.ts"
import * as StandIn from "../../src/standin/server.ts"
import { type StandInEvent, type StandInOptions, StandInWorker } from "../../src/standin/StandInWorker.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "standin-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true }))
)

/** A worker on a fresh socket, and a client of it. */
const start = Effect.fnUntraced(function*(options: StandInOptions = {}, bearerToken?: string) {
  const socket = path.join(yield* folder, "worker.sock")
  const context = yield* Layer.build(StandIn.layer({ socket, tokensPerSecond: 0, noticeMillis: 0, ...options }))
  const client = yield* AiClient.make({ address: `unix://${socket}`, bearerToken })
  return { socket, client, worker: Context.get(context, StandInWorker) }
})

/** Completes with the first event that `wanted` takes; listening begins at once. */
const nextEvent = Effect.fnUntraced(function*(
  worker: StandInWorker["Service"],
  wanted: (event: StandInEvent) => boolean
) {
  return yield* worker.events.pipe(
    Stream.filter(wanted),
    Stream.runHead,
    Effect.flatMap(Effect.fromOption),
    Effect.forkScoped({ startImmediately: true })
  )
})

const isEnd = (event: StandInEvent) => event._tag === "StreamEnded"

describe("what the stand-in worker says", () => {
  it("answers Chinese in Chinese and English in English, quoting the prompt", () => {
    assert.include(answerTo("你好", "qwen-7b", undefined).join(""), "“你好”")
    assert.include(answerTo("hello there", "qwen-7b", undefined).join(""), "\"hello there\"")
  })

  it("gives the same answer each time, in as many tokens as were asked for", () => {
    assert.deepStrictEqual(answerTo("你好", "m", 500), answerTo("你好", "m", 500))
    assert.lengthOf(answerTo("你好", "m", 500), 500)
    assert.lengthOf(answerTo("你好", "m", 3), 3)
  })

  it("loses nothing of a text when it is cut into tokens", () => {
    const text = "  two  words\nand 中文也行。 "
    assert.strictEqual(tokenize(text).join(""), text)
  })

  it("marks every loading notice with the prefix", () => {
    assert.isTrue(loadingNotices(7).every((notice) => notice.startsWith("[模型加载] ")))
  })
})

describe("the stand-in worker", () => {
  it.live("counts index from 0 without a gap and ends with end_of_stream, an empty chunk and its figures", () =>
    Effect.gen(function*() {
      const { client } = yield* start({ tokens: 10, loadingNotices: 5 })
      const chunks = yield* Stream.runCollect(client.predict({ model_id: "qwen-7b", prompt: "你好" }))
      assert.deepStrictEqual(chunks.map((chunk) => chunk.index), Array.from({ length: 16 }, (_, at) => at))
      assert.deepStrictEqual(
        chunks.map((chunk) => chunk.chunk.startsWith("[模型加载]")),
        Array.from({ length: 16 }, (_, at) => at < 5)
      )
      assert.deepStrictEqual(chunks.map((chunk) => chunk.end_of_stream), [...Array(15).fill(false), true])
      const last = chunks.at(-1)!
      assert.strictEqual(last.chunk, "")
      assert.isAbove(last.tokens_per_sec, 0)
    }))

  it.live("keeps the trace id and obeys max_new_tokens", () =>
    Effect.gen(function*() {
      const { client } = yield* start()
      const chunks = yield* Stream.runCollect(client.predict({
        prompt: "hi",
        generation: { max_new_tokens: 4, temperature: 0, top_p: 0, repetition_penalty: 0 },
        metadata: { trace_id: "t-1", tenant: "", player_id: "", locale: "", extra: {} }
      }))
      assert.lengthOf(chunks, 5)
      assert.isTrue(chunks.every((chunk) => chunk.trace_id === "t-1"))
    }))

  it.live("refuses a prompt of more than 50,000 characters, counted as characters", () =>
    Effect.gen(function*() {
      const { client } = yield* start({ tokens: 1 })
      yield* Stream.runDrain(client.predict({ prompt: "😀".repeat(50_000) }))
      const error = yield* Effect.flip(Stream.runDrain(client.predict({ prompt: "x".repeat(50_001) })))
      assert.strictEqual(error.code, 3)
    }))

  it.live("refuses a model that it does not know, when it was given a list", () =>
    Effect.gen(function*() {
      const { client } = yield* start({ models: ["qwen-7b"], tokens: 1 })
      yield* Stream.runDrain(client.predict({ model_id: "qwen-7b" }))
      const error = yield* Effect.flip(Stream.runDrain(client.predict({ model_id: "other" })))
      assert.deepStrictEqual([error.code, error.details], [5, "Model not found: other"])
    }))

  it.live("demands its bearer token on StreamPredict and Control, not on Health", () =>
    Effect.gen(function*() {
      const { client, socket } = yield* start({ bearerToken: "s3cret", tokens: 1 })
      const refusals = yield* Effect.all([
        Effect.flip(Stream.runDrain(client.predict({ prompt: "hi" }))),
        Effect.flip(client.control("ping"))
      ])
      assert.deepStrictEqual(refusals.map((error) => error.code), [16, 16])
      assert.isTrue((yield* client.health()).healthy)
      const trusted = yield* AiClient.make({ address: `unix://${socket}`, bearerToken: "s3cret" })
      assert.strictEqual((yield* trusted.control("ping")).payload.status, "ok")
      yield* Stream.runDrain(trusted.predict({ prompt: "hi" }))
    }))

  it.live("answers ping, list_models and unload_model, and says error to what it does not know", () =>
    Effect.gen(function*() {
      const { client } = yield* start({ models: ["a", "b"] })
      assert.deepStrictEqual((yield* client.control("ping")).command, "ping_response")
      assert.strictEqual((yield* client.control("list_models")).payload.models, "a,b")
      assert.strictEqual((yield* client.control("unload_model", { model_id: "a" })).payload.status, "ok")
      assert.strictEqual((yield* client.control("unload_model", { model_id: "a" })).payload.status, "error")
      assert.strictEqual((yield* client.control("list_models")).payload.models, "b")
      assert.strictEqual((yield* client.control("dance")).payload.status, "error")
    }))

  it.live("tells its figures in Health", () =>
    Effect.gen(function*() {
      const { client } = yield* start({ tokens: 1, models: ["a"] })
      yield* Stream.runDrain(client.predict({ model_id: "a" }))
      yield* Effect.flip(Stream.runDrain(client.predict({ model_id: "b" })))
      const { healthy, metrics } = yield* client.health()
      assert.isTrue(healthy)
      assert.deepStrictEqual(metrics, {
        backend: "standin",
        cuda_available: "false",
        requests_inflight: "0",
        requests_success: "1",
        requests_failed: "1"
      })
    }))

  it.live("says reloading with an ETA in Health, and answers what came meanwhile when it is over", () =>
    Effect.gen(function*() {
      const { client, worker } = yield* start({ tokens: 2 })
      yield* worker.reload(3600)
      const { metrics } = yield* client.health()
      assert.strictEqual(metrics.status, "reloading")
      assert.isAtMost(Number(metrics.eta_seconds), 3600)
      yield* worker.reload(0.05)
      const chunks = yield* Stream.runCollect(client.predict({ prompt: "hi" }))
      assert.lengthOf(chunks, 3)
      assert.isUndefined((yield* client.health()).metrics.status)
    }))

  it.live("sees a cancelled stream and stops it", () =>
    Effect.gen(function*() {
      const { client, worker } = yield* start({ tokens: 1_000_000, tokensPerSecond: 100 })
      const end = yield* nextEvent(worker, isEnd)
      yield* client.predict({ prompt: "hi" }).pipe(Stream.take(3), Stream.runDrain)
      const event = yield* Fiber.join(end)
      assert.isTrue(event._tag === "StreamEnded" && event.outcome === "cancelled")
      assert.strictEqual((yield* client.health()).metrics.requests_inflight, "0")
    }))

  it.live("with a thread pool, does not answer Health while every thread streams", () =>
    Effect.gen(function*() {
      const { client, worker } = yield* start({ threads: 1, tokens: 1_000_000, tokensPerSecond: 100 })
      const started = yield* nextEvent(worker, (event) => event._tag === "StreamStarted")
      yield* client.predict({ prompt: "hi" }).pipe(Stream.runDrain, Effect.forkScoped({ startImmediately: true }))
      yield* Fiber.join(started)
      const error = yield* Effect.flip(client.health({ deadlineSeconds: 0.2 }))
      assert.strictEqual(error.code, 4)
    }))

  it.live("with a thread pool, a cancelled stream keeps its thread until its generation is over", () =>
    Effect.gen(function*() {
      const { client, worker } = yield* start({ threads: 1, tokens: 40, tokensPerSecond: 100 })
      const end = yield* nextEvent(worker, isEnd)
      yield* client.predict({ prompt: "hi" }).pipe(Stream.take(1), Stream.runDrain)
      yield* client.health()
      const event = yield* Fiber.join(end)
      assert.isTrue(event._tag === "StreamEnded" && event.outcome === "cancelled" && event.tokens === 40)
    }))

  it.live("delivers a long answer to its last token when it is not slowed down", () =>
    Effect.gen(function*() {
      const { client, worker } = yield* start({ tokens: 20_000 })
      const end = yield* nextEvent(worker, isEnd)
      assert.strictEqual(yield* Stream.runCount(client.predict({ prompt: "hi" })), 20_001)
      const event = yield* Fiber.join(end)
      assert.isTrue(event._tag === "StreamEnded" && event.outcome === "completed" && event.tokens === 20_000)
    }))

  it.live("replaces a stale socket file, and removes its own when it ends", () =>
    Effect.gen(function*() {
      const socket = path.join(yield* folder, "worker.sock")
      const first = yield* Scope.make()
      yield* Layer.build(StandIn.layer({ socket })).pipe(Scope.provide(first))
      const inode = fs.statSync(socket).ino
      const second = yield* Scope.make()
      yield* Layer.build(StandIn.layer({ socket })).pipe(Scope.provide(second))
      assert.notStrictEqual(fs.statSync(socket).ino, inode)
      yield* Scope.close(second, Exit.void)
      yield* Scope.close(first, Exit.void)
      assert.isFalse(fs.existsSync(socket))
    }))

  it.live("does not touch a file that is not a socket, and says so", () =>
    Effect.gen(function*() {
      const socket = path.join(yield* folder, "precious.txt")
      fs.writeFileSync(socket, "precious")
      const error = yield* Effect.flip(Layer.build(StandIn.layer({ socket })))
      assert.strictEqual(error.reason, "not_a_socket")
      assert.include(error.message, socket)
      assert.strictEqual(fs.readFileSync(socket, "utf8"), "precious")
    }))

  it.live("names the folder that is missing", () =>
    Effect.gen(function*() {
      const socket = path.join(yield* folder, "nowhere", "worker.sock")
      const error = yield* Effect.flip(Layer.build(StandIn.layer({ socket })))
      assert.include(error.message, path.dirname(socket))
    }))

  it.live("lets a running stream finish when it closes, and gives up on one that takes too long", () =>
    Effect.gen(function*() {
      const close = Effect.fnUntraced(function*(options: StandInOptions) {
        const socket = path.join(yield* folder, "worker.sock")
        const scope = yield* Scope.make()
        const context = yield* Layer.build(StandIn.layer({ socket, ...options })).pipe(Scope.provide(scope))
        const client = yield* AiClient.make({ address: `unix://${socket}` })
        const started = yield* nextEvent(Context.get(context, StandInWorker), (event) => event._tag === "StreamStarted")
        const answer = yield* client.predict({ prompt: "hi" }).pipe(
          Stream.runCount,
          Effect.exit,
          Effect.forkScoped({ startImmediately: true })
        )
        yield* Fiber.join(started)
        yield* Scope.close(scope, Exit.void)
        return yield* Fiber.join(answer)
      })
      assert.deepStrictEqual(yield* close({ tokens: 20, tokensPerSecond: 100 }), Exit.succeed(21))
      assert.isTrue(Exit.isFailure(yield* close({ tokens: 1_000_000, tokensPerSecond: 100, graceMillis: 50 })))
    }))
})
