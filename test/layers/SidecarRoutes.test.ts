import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import * as healthPackage from "grpc-health-check"
import { gzipSync } from "node:zlib"
import { decodeControl, decodeHealthResponse, encodeControl } from "../../src/internal/connection/workerRpc.ts"
import { frame } from "../../src/internal/wire/frames.ts"
import * as SidecarRoutesLayer from "../../src/layers/SidecarRoutes.ts"
import { type CallRoutes, SidecarRoutes } from "../../src/services/GrpcServer.ts"
import { Code } from "../../src/services/Status.ts"
import { WorkerState } from "../../src/services/WorkerConnection.ts"
import { complete, FakeCall, type FakeCallOptions, serve } from "../support/fakeCall.ts"
import { disconnected, settings, World } from "../support/fakeServices.ts"

const CONTROL = "/cy.llm.AiInference/Control"
const HEALTH = "/cy.llm.AiInference/Health"
const CHECK = "/grpc.health.v1.Health/Check"
const LIST = "/grpc.health.v1.Health/List"
const WATCH = "/grpc.health.v1.Health/Watch"

/** Runs a test against the routes of a world of its own. */
const withRoutes = <E>(
  run: (world: World, routes: CallRoutes) => Effect.Effect<void, E>,
  changes: Parameters<typeof settings>[0] = {}
) => {
  const world = new World()
  return SidecarRoutes.use((routes) => run(world, routes)).pipe(
    Effect.provide(Layer.provideMerge(SidecarRoutesLayer.layer, world.layer(settings(changes))))
  )
}

const handlerOf = (routes: CallRoutes, path: string) => routes.routes.get(path) ?? routes.fallback

const command = (name: string, payload: Record<string, string> = {}) =>
  encodeControl({ traceId: "t-1", command: name, payload })

const control = (routes: CallRoutes, name: string, payload: Record<string, string> = {}, options?: FakeCallOptions) =>
  Effect.gen(function*() {
    const call = new FakeCall(CONTROL, options).send(command(name, payload)).halfClose()
    const status = yield* complete(handlerOf(routes, CONTROL), call)
    return { status, answer: call.replies[0] === undefined ? undefined : decodeControl(call.replies[0]) }
  })

describe("Control", () => {
  it.effect("answers sidecar.status with the worker's state, the figures and the addresses", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        yield* TestClock.adjust("90 seconds")
        world.become(disconnected)
        const { answer, status } = yield* control(routes, "sidecar.status")
        assert.strictEqual(status.code, Code.OK)
        assert.strictEqual(answer?.command, "sidecar.status_response")
        assert.strictEqual(answer?.traceId, "t-1")
        const payload = answer?.payload ?? {}
        assert.strictEqual(payload.status, "ok")
        assert.strictEqual(payload.worker_state, "Disconnected")
        assert.strictEqual(payload.worker_since, "1970-01-01T00:00:01.000Z")
        assert.strictEqual(payload.worker_reason, "SocketMissing")
        assert.strictEqual(payload.worker_remedy, "start the worker")
        assert.strictEqual(payload.worker_retry_at, "1970-01-01T00:00:06.000Z")
        assert.strictEqual(payload.streams_in_flight, "4")
        assert.strictEqual(payload.streams_held, "2")
        assert.strictEqual(payload.tokens, "7")
        assert.strictEqual(payload.uptime_secs, "90")
        assert.strictEqual(payload.bind_addr, "127.0.0.1:1, unix:///tmp/x.sock")
        assert.strictEqual(payload.sidecar_tokens_processed_total, "7")
        assert.notProperty(payload, "process_cpu_seconds_total")
        assert.match(payload.version ?? "", /^\d+\.\d+\.\d+/)
        assert.deepStrictEqual(world.handled, [`${CONTROL} 0`])
      }), { server: { bind_addr: ["127.0.0.1:1", "unix:///tmp/x.sock"] } }))

  it.effect("carries out the sidecar's own commands", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        for (const name of ["ready", "drain", "undrain", "reconnect", "reloading"]) {
          const { answer } = yield* control(routes, `sidecar.${name}`)
          assert.strictEqual(answer?.payload.status, "ok", name)
        }
        yield* control(routes, "sidecar.reloading", { eta_seconds: "12.5" })
        assert.deepStrictEqual(world.actions, [
          "ready",
          "drain",
          "undrain",
          "reconnect",
          "reload undefined",
          "reload 12.5"
        ])
        assert.deepStrictEqual(world.carried, [])
      })
    ))

  it.effect("refuses an eta that is not a positive number", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        for (const eta_seconds of ["soon", "-1", "0", "Infinity"]) {
          const { answer } = yield* control(routes, "sidecar.reloading", { eta_seconds })
          assert.strictEqual(answer?.payload.status, "error", eta_seconds)
          assert.include(answer?.payload.message, "eta_seconds")
        }
        assert.deepStrictEqual(world.actions, [])
      })
    ))

  it.effect("names the known commands for one it does not know", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const { answer, status } = yield* control(routes, "sidecar.explode")
        assert.strictEqual(status.code, Code.OK)
        assert.strictEqual(answer?.command, "sidecar.explode_response")
        assert.strictEqual(answer?.payload.status, "error")
        assert.include(answer?.payload.known, "sidecar.status, sidecar.reloading")
      })
    ))

  it.effect("takes sidecar.* only from a trusted peer", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { answer, status } = yield* control(routes, "sidecar.drain", {}, { trusted: false })
        assert.deepStrictEqual([status.code, status.metadata["cy-reason"]], [Code.PERMISSION_DENIED, "control_denied"])
        assert.isUndefined(answer)
        // A proxy on this machine has passed them on: who asked is somebody else.
        for (const key of ["via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"]) {
          const { status } = yield* control(routes, "sidecar.drain", {}, { metadata: { [key]: "203.0.113.7" } })
          assert.strictEqual(status.code, Code.PERMISSION_DENIED, key)
        }
        assert.deepStrictEqual(world.actions, [])
      })
    ))

  it.effect("carries any other command to the worker, frame by frame as it came", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const request = frame(command("list_models"))
        const call = new FakeCall(CONTROL, { trusted: false, timeoutMillis: 5000, metadata: { "x-tenant": "acme" } })
          .sendFrames(request).halfClose()
        yield* complete(handlerOf(routes, CONTROL), call)
        const carried = world.carried[0]!
        assert.strictEqual(carried.kind, "passthrough")
        assert.strictEqual(carried.frames[0], request)
        assert.strictEqual(carried.call.timeoutMillis, 5000)
        assert.deepStrictEqual(carried.call.metadata, { "x-tenant": "acme" })
        assert.deepStrictEqual(world.handled, [])
      })
    ))

  it.effect("carries what it cannot read to the worker too", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const handler = handlerOf(routes, CONTROL)
        yield* complete(handler, new FakeCall(CONTROL).halfClose())
        yield* complete(handler, new FakeCall(CONTROL).send(Uint8Array.of(0xff, 0xff)).halfClose())
        yield* complete(handler, new FakeCall(CONTROL).send(Uint8Array.of(1, 2, 3), true).halfClose())
        assert.strictEqual(world.carried.length, 3)
      })
    ))

  it.effect("reads a compressed command", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const call = new FakeCall(CONTROL, { encoding: "gzip" }).send(gzipSync(command("sidecar.drain")), true)
          .halfClose()
        yield* complete(handlerOf(routes, CONTROL), call)
        assert.deepStrictEqual(world.actions, ["drain"])
      })
    ))

  it.effect("pauses the request side until the worker's call is there, then reads on", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const call = new FakeCall(CONTROL).send(command("ping")).send(command("pong"))
        const fiber = yield* serve(handlerOf(routes, CONTROL), call)
        yield* Effect.yieldNow
        call.halfClose()
        yield* Fiber.join(fiber)
        assert.strictEqual(world.carried[0]?.frames.length, 2)
      })
    ))

  it.effect("takes a message that comes while it waits for one", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const own = new FakeCall(CONTROL)
        const fiber = yield* serve(handlerOf(routes, CONTROL), own)
        own.send(command("sidecar.ready")).halfClose()
        yield* Fiber.join(fiber)
        assert.strictEqual(own.ended?.code, Code.OK)
        const other = new FakeCall(CONTROL)
        const carrying = yield* serve(handlerOf(routes, CONTROL), other)
        other.send(command("ping")).halfClose()
        yield* Fiber.join(carrying)
        assert.strictEqual(world.carried[0]?.frames.length, 1)
      })
    ))

  it.effect("ends a call whose deadline passes before any message came", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const call = new FakeCall(CONTROL, { timeoutMillis: 300 })
        const fiber = yield* serve(handlerOf(routes, CONTROL), call)
        yield* TestClock.adjust(300)
        yield* Fiber.join(fiber)
        assert.strictEqual(call.ended?.code, Code.DEADLINE_EXCEEDED)
        assert.deepStrictEqual(world.carried, [])
      })
    ))

  it.effect("counts a caller that leaves by its deadline when its time is over, and before that as one that cancels", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        for (const path of [CONTROL, HEALTH, CHECK]) {
          const start = yield* Clock.currentTimeMillis
          for (const after of [100, 297]) {
            const call = new FakeCall(path, { timeoutMillis: start + 300 })
            const fiber = yield* serve(handlerOf(routes, path), call)
            yield* TestClock.setTime(start + after)
            yield* Fiber.interrupt(fiber)
          }
        }
        assert.deepStrictEqual(
          world.handled,
          [CONTROL, HEALTH, CHECK].flatMap((path) => [
            `${path} ${Code.CANCELLED}`,
            `${path} ${Code.DEADLINE_EXCEEDED}`
          ])
        )
      })
    ))

  it.effect("wants exactly one message", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const two = new FakeCall(CONTROL).send(command("sidecar.ready")).send(command("sidecar.ready")).halfClose()
        assert.strictEqual((yield* complete(handlerOf(routes, CONTROL), two)).code, Code.UNIMPLEMENTED)
        const none = new FakeCall(CHECK).halfClose()
        assert.strictEqual((yield* complete(handlerOf(routes, CHECK), none)).code, Code.UNIMPLEMENTED)
      })
    ))

  it.effect("refuses a message over max_message_bytes, also one that only grows when it is opened", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const large = encodeControl({ traceId: "", command: "sidecar.drain", payload: { x: "y".repeat(2000) } })
        const plain = new FakeCall(CHECK).send(large).halfClose()
        assert.strictEqual((yield* complete(handlerOf(routes, CHECK), plain)).code, Code.RESOURCE_EXHAUSTED)
        const bomb = new FakeCall(CHECK, { encoding: "gzip" }).send(gzipSync(large), true).halfClose()
        assert.strictEqual((yield* complete(handlerOf(routes, CHECK), bomb)).code, Code.RESOURCE_EXHAUSTED)
        assert.deepStrictEqual(world.actions, [])
      }), { server: { max_message_bytes: 1000 } }))
})

const health = (routes: CallRoutes) =>
  Effect.gen(function*() {
    const call = new FakeCall(HEALTH).send(new Uint8Array()).halfClose()
    const status = yield* complete(handlerOf(routes, HEALTH), call)
    assert.strictEqual(status.code, Code.OK)
    return decodeHealthResponse(call.replies[0]!)!
  })

describe("Health", () => {
  it.effect("gives the worker's own answer with the sidecar's figures added", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const answer = yield* health(routes)
        assert.isTrue(answer.healthy)
        assert.strictEqual(answer.metrics.backend, "fake")
        assert.strictEqual(answer.metrics.sidecar_tokens_processed_total, "7")
        assert.strictEqual(answer.metrics.sidecar_worker_state, "Connected")
        assert.strictEqual(answer.metrics.sidecar_draining, "false")
        assert.notProperty(answer.metrics, "reason")
      })
    ))

  it.effect("is unhealthy with a reason that names no path when there is no worker, and never an error", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        world.become(disconnected)
        world.health = Effect.succeed({ healthy: false, metrics: {} })
        const answer = yield* health(routes)
        assert.isFalse(answer.healthy)
        assert.strictEqual(answer.metrics.reason, "SocketMissing")
        assert.notInclude(JSON.stringify(answer), "/run/secret")
      })
    ))

  it.effect("keeps a busy worker's last word when the probe takes longer than check_timeout_secs", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        world.health = Effect.never
        world.lastHealth = { healthy: true, metrics: { backend: "cuda" } }
        const call = new FakeCall(HEALTH).send(new Uint8Array()).halfClose()
        const fiber = yield* serve(handlerOf(routes, HEALTH), call)
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(fiber)
        const answer = decodeHealthResponse(call.replies[0]!)!
        assert.isTrue(answer.healthy)
        assert.strictEqual(answer.metrics.backend, "cuda")
        assert.strictEqual(answer.metrics.reason, "HealthTimeout")
      })
    ))

  it.effect("answers INTERNAL for a defect and shows nothing of it", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        world.health = Effect.die(new Error("secret stack"))
        const call = new FakeCall(HEALTH).send(new Uint8Array()).halfClose()
        const status = yield* complete(handlerOf(routes, HEALTH), call)
        assert.strictEqual(status.code, Code.INTERNAL)
        assert.notInclude(status.message, "secret")
      })
    ))
})

const healthRequest = (service: string) => {
  const { requestSerialize } = healthPackage.service.Check!
  return requestSerialize({ service })
}
const healthStatus = (bytes: Uint8Array): unknown =>
  healthPackage.service.Check!.responseDeserialize(Buffer.from(bytes))

describe("grpc.health.v1", () => {
  it.effect("says SERVING for every known service only while there is a worker and no drain", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const check = (service: string) =>
          Effect.gen(function*() {
            const call = new FakeCall(CHECK).send(healthRequest(service)).halfClose()
            const status = yield* complete(handlerOf(routes, CHECK), call)
            return call.replies[0] === undefined ? status.code : healthStatus(call.replies[0])
          })
        const known = ["", "cy.llm.AiInference", "cy.llm.AiTraining", "grpc.health.v1.Health"]
        for (const service of known) assert.deepStrictEqual(yield* check(service), { status: "SERVING" }, service)
        world.become(disconnected)
        assert.deepStrictEqual(yield* check(""), { status: "NOT_SERVING" })
        world.become(WorkerState.Reloading({ since: 0, until: undefined }))
        assert.deepStrictEqual(yield* check(""), { status: "NOT_SERVING" })
        world.become(WorkerState.Connected({ since: 0 }))
        world.drain(true)
        assert.deepStrictEqual(yield* check(""), { status: "NOT_SERVING" })
        assert.strictEqual(yield* check("no.such.Service"), Code.NOT_FOUND)
      })
    ))

  it.effect("lists every known service", () =>
    withRoutes((_world, routes) =>
      Effect.gen(function*() {
        const call = new FakeCall(LIST).send(new Uint8Array()).halfClose()
        yield* complete(handlerOf(routes, LIST), call)
        const list = healthPackage.service.List!
        assert.deepStrictEqual(list.responseDeserialize(Buffer.from(call.replies[0]!)), {
          statuses: {
            "": { status: "SERVING" },
            "cy.llm.AiInference": { status: "SERVING" },
            "cy.llm.AiTraining": { status: "SERVING" },
            "grpc.health.v1.Health": { status: "SERVING" },
            "grpc.reflection.v1.ServerReflection": { status: "SERVING" },
            "grpc.reflection.v1alpha.ServerReflection": { status: "SERVING" },
            "xds.service.orca.v3.OpenRcaService": { status: "SERVING" }
          }
        })
      })
    ))

  const watch = (routes: CallRoutes, service: string, options?: FakeCallOptions) => {
    const call = new FakeCall(WATCH, options).send(healthRequest(service)).halfClose()
    return Effect.map(serve(handlerOf(routes, WATCH), call), (fiber) => ({ call, fiber }))
  }
  const said = (call: FakeCall) => call.replies.map((reply) => healthStatus(reply))
  const SERVING = { status: "SERVING" }
  const NOT_SERVING = { status: "NOT_SERVING" }

  it.effect("watches: once at first, then only changes, and leaves nothing behind", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* watch(routes, "")
        yield* Effect.yieldNow
        assert.deepStrictEqual(said(call), [SERVING])
        world.become(WorkerState.Connected({ since: 1 }))
        assert.deepStrictEqual(said(call), [SERVING])
        world.become(disconnected)
        world.become(WorkerState.Connecting({ since: 2, attempt: 1 }))
        world.become(WorkerState.Connected({ since: 3 }))
        assert.deepStrictEqual(said(call), [SERVING, NOT_SERVING, SERVING])
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(world.listeners, 0)
        assert.deepStrictEqual(world.handled, [`${WATCH} ${Code.CANCELLED}`])
      })
    ))

  it.effect("says SERVICE_UNKNOWN to a watch of a service it does not know, and keeps it open", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* watch(routes, "no.such.Service")
        yield* Effect.yieldNow
        world.become(disconnected)
        assert.deepStrictEqual(said(call), [{ status: "SERVICE_UNKNOWN" }])
        assert.isUndefined(call.ended)
        yield* Fiber.interrupt(fiber)
      })
    ))

  it.effect("ends its watches when the sidecar drains, after NOT_SERVING", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* watch(routes, "cy.llm.AiInference")
        yield* Effect.yieldNow
        world.drain(true)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(said(call), [SERVING, NOT_SERVING])
        assert.strictEqual(call.ended?.code, Code.UNAVAILABLE)
        assert.strictEqual(call.ended?.metadata["cy-reason"], "draining")
        assert.strictEqual(world.listeners, 0)
      })
    ))

  it.effect("tells a watcher that lagged only the newest status", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const { call, fiber } = yield* watch(routes, "", { capacity: 1 })
        yield* Effect.yieldNow
        world.become(disconnected)
        world.become(WorkerState.Connected({ since: 3 }))
        world.become(disconnected)
        assert.deepStrictEqual(said(call), [SERVING])
        call.read()
        assert.deepStrictEqual(said(call), [SERVING, NOT_SERVING])
        yield* Fiber.interrupt(fiber)
      })
    ))
})

describe("the rest", () => {
  it.effect("sends StreamPredict to the proxy and unknown methods to the worker", () =>
    withRoutes((world, routes) =>
      Effect.gen(function*() {
        const paths = ["/cy.llm.AiInference/StreamPredict", "/cy.llm.AiTraining/StartTraining", "/new.Service/Method"]
        for (const path of paths) yield* complete(handlerOf(routes, path), new FakeCall(path).halfClose())
        assert.deepStrictEqual(world.carried.map((carried) => carried.kind), ["predict", "passthrough", "passthrough"])
      })
    ))
})
