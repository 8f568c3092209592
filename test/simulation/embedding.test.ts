import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Result, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  BillingSink,
  BillingVerdict,
  InferenceProxy,
  LlmClient,
  type PredictRequest,
  Sidecar,
  type SidecarEvent,
  SidecarEvents,
  type UsageRecord,
  WorkerConnection
} from "../../src/index.ts"
import { Answer, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"

const request: PredictRequest = { model: "qwen-7b", prompt: "hello", tenant: "acme" }

const connected = Effect.andThen(Simulation.connected, Effect.yieldNow)

const generate = Effect.gen(function*() {
  yield* connected
  const fiber = yield* Effect.forkChild(Stream.runCollect(LlmClient.tokens(request)), { startImmediately: true })
  yield* TestClock.adjust("1 second")
  return yield* Fiber.join(fiber)
})

const scripted = (...tokens: ReadonlyArray<string>) =>
  Layer.fresh(ScriptedWorker.layer({ answer: Answer.tokens({ tokens }) }))

/** Lines of the log from warnings on. */
const warnings = () => {
  const lines: Array<string> = []
  const logger = Logger.make(({ logLevel, message }) => {
    if (logLevel === "Warn") lines.push(String(Array.isArray(message) ? message[0] : message))
  })
  return { lines, layer: Logger.layer([logger]) }
}

const sink = () => {
  const records: Array<UsageRecord> = []
  return {
    records,
    layer: Layer.succeed(BillingSink, {
      send: (batch) =>
        Effect.sync(() => {
          records.push(...batch.records)
          return BillingVerdict.Accepted({ duplicate: false })
        })
    })
  }
}

for (const billing_endpoint of [undefined, "http://billing.test"]) {
  it.effect(`a BillingSink that is provided gets the records, ${billing_endpoint ?? "no endpoint"} in the settings`, () => {
    const { layer, records } = sink()
    const { layer: logging, lines } = warnings()
    const metering = billing_endpoint === undefined ? {} : { billing_endpoint }
    return Effect.gen(function*() {
      yield* generate
      yield* TestClock.adjust("11 seconds")
      assert.deepStrictEqual(
        records.map(({ outcome, tenant, tokens_generated }) => [tenant, outcome, tokens_generated]),
        [["acme", "completed", 2]]
      )
      assert.deepStrictEqual(
        lines.filter((line) => line.includes("billing_endpoint")),
        billing_endpoint === undefined
          ? []
          : ["[metering] billing_endpoint has no effect: the application provides a BillingSink of its own"]
      )
    }).pipe(Effect.provide(
      Sidecar.make({ settings: { metering }, journal: "memory" }).pipe(
        Layer.provide(layer),
        Layer.provide(scripted("a", "b")),
        Layer.provide(logging)
      )
    ))
  })
}

it.effect("settings that a part of the application's own makes void are said, each once, and no default is", () => {
  const { layer, lines } = warnings()
  return Effect.gen(function*() {
    yield* connected
    assert.deepStrictEqual(lines.filter((line) => line.includes("no effect")), [
      "[server] worker_uds has no effect: the application provides a WorkerChannel of its own",
      "[metering] durability has no effect: the application has chosen another journal than the file",
      "[server] bind_addr has no effect: no port for gateways was asked for",
      "[observability] metrics_port has no effect: no port for operators was asked for"
    ])
  }).pipe(Effect.provide(
    Sidecar.make({
      settings: {
        server: { worker_uds: "unix:///tmp/nobody.sock", bind_addr: "127.0.0.1:0" },
        metering: { durability: "power-loss" },
        observability: { metrics_port: 0 }
      },
      journal: "memory"
    }).pipe(Layer.provide(scripted("a")), Layer.provide(layer))
  ))
})

it.effect("two sidecars in one process share nothing, and one that is provided twice is one", () => {
  const one = Sidecar.make({ journal: "memory" }).pipe(Layer.provide(scripted("one")))
  const two = Sidecar.make({ journal: "memory" }).pipe(Layer.provide(scripted("two")))
  const connection = WorkerConnection.useSync((connection) => connection)
  return Effect.gen(function*() {
    const memo = yield* Layer.makeMemoMap
    const scope = yield* Effect.scope
    const first = yield* Layer.buildWithMemoMap(one, memo, scope)
    const second = yield* Layer.buildWithMemoMap(two, memo, scope)
    const again = yield* Layer.buildWithMemoMap(one, memo, scope)
    assert.deepStrictEqual(yield* Effect.provide(generate, first), ["one"])
    assert.deepStrictEqual(yield* Effect.provide(generate, second), ["two"])
    assert.strictEqual(yield* Effect.provide(connection, again), yield* Effect.provide(connection, first))
    assert.notStrictEqual(yield* Effect.provide(connection, second), yield* Effect.provide(connection, first))
  }).pipe(Effect.scoped)
})

it.effect("closing an application's sidecar ends its own streams, which count as drained", () => {
  const { layer, records } = sink()
  return Effect.gen(function*() {
    const scope = yield* Effect.scope
    const sidecar = Sidecar.make({ settings: { server: { drain_timeout_secs: 5 } }, journal: "memory" }).pipe(
      Layer.provide(layer),
      Layer.provide(Layer.fresh(ScriptedWorker.layer({ answer: Answer.tokens({ tokens: 1000, every: "1 second" }) })))
    )
    const application = Effect.gen(function*() {
      yield* connected
      yield* Effect.forkIn(Stream.runDrain(LlmClient.tokens(request)), scope, { startImmediately: true })
      yield* Effect.sleep("3500 millis")
    })
    yield* Effect.forkChild(Effect.provide(application, sidecar), { startImmediately: true })
    yield* TestClock.adjust("1 minute")
    assert.deepStrictEqual(records.map(({ chunks, outcome }) => [chunks, outcome]), [[9, "drained"]])
  }).pipe(Effect.scoped)
})

/** Collects events until the scope closes. */
const listen = Effect.gen(function*() {
  const heard: Array<SidecarEvent> = []
  yield* Sidecar.events.pipe(
    Stream.runForEach((event) => Effect.sync(() => void heard.push(event))),
    Effect.forkScoped({ startImmediately: true })
  )
  return heard
})

it.effect("events tell of ends, of the worker and of reloads, in order", () =>
  Effect.gen(function*() {
    const worker = yield* ScriptedWorker.ScriptedWorker
    yield* connected
    const heard = yield* listen
    yield* generate
    for (const { action } of Result.getOrThrow(Timeline.parse("at 0s: reload for 10s"))) yield* worker.perform(action)
    yield* TestClock.adjust("30 seconds")
    assert.deepStrictEqual(
      heard.map((event) =>
        event._tag === "StreamEnded"
          ? [event.record.outcome, event.record.tokens_generated]
          : event._tag === "WorkerChanged"
          ? event.state._tag
          : event._tag
      ).filter((word, n, all) => word !== all[n - 1]),
      [["completed", 1], "Reloading", "ReloadBegan", "Connected", "ReloadEnded"]
    )
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Sidecar.make({ journal: "memory" }).pipe(Layer.provideMerge(scripted("a")))
    )
  ))

it.effect("what happened is remembered for who comes later, whether or not anybody listened", () =>
  Effect.gen(function*() {
    const worker = yield* ScriptedWorker.ScriptedWorker
    yield* connected
    for (const { action } of Result.getOrThrow(Timeline.parse("at 0s: reload for 10s"))) yield* worker.perform(action)
    yield* TestClock.adjust("30 seconds")
    yield* (yield* InferenceProxy).drain
    for (let n = 0; n < 3; n++) yield* Effect.flip(Stream.runDrain(LlmClient.tokens(request)))
    const { history, isListenedTo } = yield* SidecarEvents
    assert.isFalse(isListenedTo())
    assert.deepStrictEqual(history().map(({ kind, lasting, reason }) => [kind, reason, lasting]), [
      ["worker", null, false],
      ["reload", "Reloading", false],
      ["worker", null, true],
      ["drain", "Draining", true],
      ["refusals", "draining", true]
    ])
    assert.strictEqual(history()[4]?.count, 3)
    const [, reload, back] = history()
    // Noticed by the second Health call.
    assert.strictEqual(reload?.seconds, 5)
    assert.strictEqual(back?.text, "connected to worker, after 5s of Reloading")
  }).pipe(
    Effect.provide(Sidecar.make({ journal: "memory" }).pipe(Layer.provideMerge(scripted("a"))))
  ))

it.effect("a slow listener loses the oldest events and is told how many; others lose none", () =>
  Effect.gen(function*() {
    yield* connected
    const slow: Array<SidecarEvent> = []
    yield* Sidecar.events.pipe(
      Stream.runForEach((event) => Effect.andThen(Effect.sync(() => void slow.push(event)), Effect.sleep("1 hour"))),
      Effect.forkScoped({ startImmediately: true })
    )
    const heard = yield* listen
    const streams = Array.from({ length: 1100 }, () => Stream.runDrain(LlmClient.tokens(request)))
    yield* Effect.forkChild(Effect.all(streams, { concurrency: 100 }), { startImmediately: true })
    yield* TestClock.adjust("10 minutes")
    yield* TestClock.adjust("1 hour")
    assert.strictEqual(heard.filter(({ _tag }) => _tag === "StreamEnded").length, 1100)
    const lost = slow.find(({ _tag }) => _tag === "Lost")
    assert.isTrue(lost?._tag === "Lost" && lost.count > 0 && lost.count < 1100)
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Sidecar.make({ journal: "memory" }).pipe(Layer.provide(scripted("a")))
    )
  ))
