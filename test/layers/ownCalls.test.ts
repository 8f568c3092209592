import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { gzipSync } from "node:zlib"
import { encodeControl } from "../../src/internal/connection/workerRpc.ts"
import { concat, frame } from "../../src/internal/wire/frames.ts"
import * as LimitLog from "../../src/layers/LimitLog.ts"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import * as SidecarRoutesLayer from "../../src/layers/SidecarRoutes.ts"
import { type CallRoutes, SidecarRoutes } from "../../src/services/GrpcServer.ts"
import { MetricReadings } from "../../src/services/MetricReadings.ts"
import { Code } from "../../src/services/Status.ts"
import { complete, FakeCall, serve } from "../support/fakeCall.ts"
import { settings, World } from "../support/fakeServices.ts"

const CONTROL = "/cy.llm.AiInference/Control"
const HEALTH = "/cy.llm.AiInference/Health"
const CHECK = "/grpc.health.v1.Health/Check"
const WATCH = "/grpc.health.v1.Health/Watch"
const REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
const OWN = [CONTROL, HEALTH, CHECK, WATCH, "/grpc.health.v1.Health/List", REFLECTION]

/** The routes with the real metrics, which can be read. */
const withRoutes = <E>(
  run: (world: World, routes: CallRoutes) => Effect.Effect<void, E, MetricReadings>,
  server: Readonly<Record<string, unknown>> = {}
) => {
  const world = new World()
  const layer = SidecarRoutesLayer.layer.pipe(
    Layer.provide(LimitLog.layer),
    Layer.provideMerge(Layer.merge(world.layer(settings({ server })), PromMetrics.layer))
  )
  return SidecarRoutes.use((routes) => run(world, routes)).pipe(Effect.provide(layer))
}

const reading = (name: string, label: string) =>
  MetricReadings.useSync((readings) =>
    readings.series(name).find(({ labels }) => Object.values(labels ?? {}).includes(label))?.value
  )

const handlerOf = (routes: CallRoutes, path: string) => routes.routes.get(path) ?? routes.fallback

const reasonOf = (call: FakeCall) => [call.ended?.code, call.ended?.metadata["cy-reason"]]

describe("The sidecar's own methods", () => {
  it.effect("wait for a request no longer than first_message_timeout_secs", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const calls = OWN.map((path) => new FakeCall(path))
        const fibers = yield* Effect.forEach(calls, (call) => serve(handlerOf(routes, call.path), call))
        assert.strictEqual(yield* reading("sidecar_open_calls", "own"), OWN.length)
        yield* TestClock.adjust("19 seconds")
        for (const call of calls) assert.isUndefined(call.ended, call.path)
        yield* TestClock.adjust("1 second")
        yield* Fiber.joinAll(fibers)
        for (const call of calls) assert.deepStrictEqual(reasonOf(call), [Code.CANCELLED, "request_timeout"], call.path)
        assert.strictEqual(yield* reading("sidecar_open_calls", "own"), 0)
      }), { first_message_timeout_secs: 20 }))

  it.effect("let a watch of health go on, and end a reflection stream that asks nothing more", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const watch = new FakeCall(WATCH).send(new Uint8Array()).halfClose()
        const reflection = new FakeCall(REFLECTION).send(Uint8Array.of(0x3a, 0))
        const watching = yield* serve(handlerOf(routes, WATCH), watch)
        const reflecting = yield* serve(handlerOf(routes, REFLECTION), reflection)
        yield* Effect.promise(async () => {
          // The descriptors are loaded from disk.
          while (reflection.replies.length === 0) await new Promise((resolve) => setImmediate(resolve))
        })
        yield* TestClock.adjust("1 hour")
        yield* Fiber.join(reflecting)
        assert.deepStrictEqual(reasonOf(reflection), [Code.CANCELLED, "request_timeout"])
        assert.isUndefined(watch.ended)
        assert.strictEqual(yield* reading("sidecar_open_calls", "own"), 1)
        yield* Fiber.interrupt(watching)
        assert.strictEqual(yield* reading("sidecar_open_calls", "own"), 0)
      })
    ))

  it.effect("have max_own_calls of them: who has most of them makes room", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const open = (peer: string) =>
          Effect.gen(function*() {
            const call = new FakeCall(WATCH, { peer }).send(new Uint8Array()).halfClose()
            return { call, fiber: yield* serve(handlerOf(routes, WATCH), call) }
          })
        const patient = yield* open("10.0.0.1:1")
        const greedy = yield* Effect.forEach([1, 2, 3, 4], () => open("10.0.0.2:1"))
        yield* Fiber.joinAll(greedy.slice(0, 2).map(({ fiber }) => fiber))
        for (const { call } of greedy.slice(0, 2)) {
          assert.deepStrictEqual(reasonOf(call), [Code.RESOURCE_EXHAUSTED, "too_many_calls"])
        }
        for (const { call } of [patient, ...greedy.slice(2)]) assert.isUndefined(call.ended)
        assert.strictEqual(yield* reading("sidecar_limits_total", "own_calls"), 2)
        const check = new FakeCall(CHECK, { peer: "10.0.0.3:1" }).send(new Uint8Array()).halfClose()
        assert.strictEqual((yield* complete(handlerOf(routes, CHECK), check)).code, Code.OK)
        assert.isUndefined(patient.call.ended)
      }), { max_own_calls: 3 }))

  it.effect("take small requests only, also when they are compressed", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const large = new Uint8Array(65 * 1024)
        for (const path of [HEALTH, CHECK, WATCH, REFLECTION]) {
          for (const compressed of [false, true]) {
            const call = new FakeCall(path, { encoding: "gzip" })
              .send(compressed ? gzipSync(large) : large, compressed).halfClose()
            const status = yield* complete(handlerOf(routes, path), call)
            assert.deepStrictEqual(reasonOf(call), [Code.RESOURCE_EXHAUSTED, "message_too_large"], path)
            assert.strictEqual(status, call.ended)
          }
        }
        // A command of ours is small: what is not goes to the worker, and is never opened.
        const order = encodeControl({ traceId: "", command: "sidecar.drain", payload: { x: "y".repeat(70_000) } })
        for (const [message, compressed] of [[order, false], [gzipSync(order), true]] as const) {
          const call = new FakeCall(CONTROL, { encoding: "gzip" }).send(message, compressed).halfClose()
          yield* complete(handlerOf(routes, CONTROL), call)
        }
        assert.deepStrictEqual(world.actions, [])
        assert.strictEqual(world.carried.length, 2)
      })
    ))

  it.effect("end for a caller that reads no answer", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const call = new FakeCall(REFLECTION, { capacity: 1 })
        const list = Uint8Array.of(0x3a, 0)
        call.sendFrames(concat(Array.from({ length: 50 }, () => frame(list))))
        const fiber = yield* serve(handlerOf(routes, REFLECTION), call)
        yield* Effect.promise(async () => {
          while (call.replies.length === 0) await new Promise((resolve) => setImmediate(resolve))
        })
        yield* TestClock.adjust("2 minutes")
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(reasonOf(call), [Code.CANCELLED, "slow_reader"])
        assert.strictEqual(call.replies.length, 1)
        assert.strictEqual(call.delivery, "now")
      }), { slow_reader_timeout_secs: 120 }))
})
