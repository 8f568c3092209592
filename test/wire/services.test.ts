import { assert, describe, it } from "@effect/vitest"
import * as grpc from "@grpc/grpc-js"
import { Effect, Exit, Layer, Logger, Scope } from "effect"
import * as healthPackage from "grpc-health-check"
import * as GrpcJsServer from "../../src/layers/GrpcJsServer.ts"
import * as Http2Server from "../../src/layers/Http2Server.ts"
import * as SidecarRoutesLayer from "../../src/layers/SidecarRoutes.ts"
import { GrpcServer } from "../../src/services/GrpcServer.ts"
import { Code } from "../../src/services/Status.ts"
import { disconnected, settings, World } from "../support/fakeServices.ts"
import { collect, reasonOf } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { control, controlOf, healthOf } from "../support/protobuf.ts"

const wait = <A>(promise: Promise<A>): Effect.Effect<A> => Effect.promise(() => promise)

const check = healthPackage.service["Check"]!
const watch = healthPackage.service["Watch"]!
const statusOf = (bytes: Uint8Array): unknown => watch.responseDeserialize(Buffer.from(bytes))

/** Serves the sidecar's routes and gives the address. */
type Serve = (world: World) => Effect.Effect<string, unknown, Scope.Scope>

const byLayer = (server: typeof Http2Server.layer): Serve => (world) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(
      server.pipe(
        Layer.provide(SidecarRoutesLayer.layer),
        Layer.provide(world.layer(settings({ server: { bind_addr: "127.0.0.1:0" } }))),
        Layer.provide(Logger.layer([]))
      )
    )
    return (yield* GrpcServer.pipe(Effect.provide(context))).addresses[0]!
  })

/** An embedder's own grpc-js server. */
const byEmbedding: Serve = (world) =>
  Effect.gen(function*() {
    const server = new grpc.Server()
    yield* GrpcJsServer.addTo(server).pipe(
      Effect.provide(
        SidecarRoutesLayer.layer.pipe(Layer.provideMerge(world.layer()), Layer.provide(Logger.layer([])))
      )
    )
    const port = yield* Effect.acquireRelease(
      Effect.callback<number, Error>((resume) => {
        server.bindAsync(
          "127.0.0.1:0",
          grpc.ServerCredentials.createInsecure(),
          (error, port) => resume(error === null ? Effect.succeed(port) : Effect.fail(error))
        )
      }),
      () => Effect.sync(() => server.forceShutdown())
    )
    return `127.0.0.1:${port}`
  })

describe.each<readonly [string, Serve]>([
  ["Http2Server", byLayer(Http2Server.layer)],
  ["GrpcJsServer", byLayer(GrpcJsServer.layer)],
  ["an embedder's grpc-js server", byEmbedding]
])("the services on %s", (_name, serve) => {
  const open = (world: World) =>
    Effect.flatMap(serve(world), (address) =>
      Effect.acquireRelease(
        Effect.sync(() => new GrpcJsGateway(address)),
        (gateway) => Effect.sync(() => gateway.close())
      ))

  it.live("answer Control and Health", () =>
    Effect.gen(function*() {
      const world = new World()
      const gateway = yield* open(world)
      const status = yield* wait(collect(gateway.call({
        path: "/cy.llm.AiInference/Control",
        requests: [control("sidecar.status")]
      })))
      assert.strictEqual(status.status.code, Code.OK)
      assert.strictEqual(controlOf(status.messages[0]!).payload["worker_state"], "Connected")
      const { messages } = yield* wait(collect(gateway.call({
        path: "/cy.llm.AiInference/Health",
        requests: [Buffer.alloc(0)]
      })))
      assert.isTrue(healthOf(messages[0]!).healthy)
      assert.strictEqual(healthOf(messages[0]!).metrics["backend"], "fake")
    }).pipe(Effect.scoped))

  it.live("carry StreamPredict, AiTraining and other commands", () =>
    Effect.gen(function*() {
      const world = new World()
      const gateway = yield* open(world)
      const paths = [
        "/cy.llm.AiInference/StreamPredict",
        "/cy.llm.AiTraining/StartTraining",

        "/cy.llm.AiInference/Control"
      ]
      for (const path of paths) {
        const { status } = yield* wait(collect(gateway.call({ path, requests: [control("list_models")] })))
        assert.strictEqual(status.code, Code.OK, path)
      }
      assert.deepStrictEqual(world.carried.map(({ kind }) => kind), ["predict", "passthrough", "passthrough"])
      assert.isTrue(Buffer.from(world.carried[2]!.frames[0]!).subarray(5).equals(control("list_models")))
    }).pipe(Effect.scoped))

  it.live("let a watcher follow the worker, and leave at a drain", () =>
    Effect.gen(function*() {
      const world = new World()
      const gateway = yield* open(world)
      const call = gateway.call({ path: watch.path, requests: [watch.requestSerialize({ service: "" })] })
      yield* wait(call.messages.count(1, "the status"))
      world.become(disconnected)
      yield* wait(call.messages.count(2, "the change"))
      assert.deepStrictEqual(call.messages.all.map(statusOf), [{ status: "SERVING" }, { status: "NOT_SERVING" }])
      world.drain(true)
      const left = yield* wait(call.status)
      assert.deepStrictEqual([left.code, reasonOf(left)], [Code.UNAVAILABLE, "draining"])
      const known = yield* wait(collect(gateway.call({
        path: check.path,
        requests: [check.requestSerialize({ service: "cy.llm.AiInference" })]
      })))
      assert.deepStrictEqual(statusOf(known.messages[0]!), { status: "NOT_SERVING" })
      const unknown = yield* wait(collect(gateway.call({
        path: check.path,
        requests: [check.requestSerialize({ service: "nobody" })]
      })))
      assert.strictEqual(unknown.status.code, Code.NOT_FOUND)
    }).pipe(Effect.scoped))

  it.live("forget a watcher that leaves", () =>
    Effect.gen(function*() {
      const world = new World()
      const gateway = yield* open(world)
      const call = gateway.call({ path: watch.path, requests: [watch.requestSerialize({ service: "" })] })
      yield* wait(call.messages.count(1, "the status"))
      call.cancel()
      yield* wait(call.status)
      while (world.listeners > 0) yield* Effect.sleep(1)
      assert.deepStrictEqual(world.handled, [`${watch.path} ${Code.CANCELLED}`])
    }).pipe(Effect.scoped))
})

describe("GrpcJsServer.addTo", () => {
  it.live("leaves out the services that the server has, and takes its own away with its scope", () =>
    Effect.gen(function*() {
      const server = new grpc.Server()
      new healthPackage.HealthImplementation({ "": "SERVING" }).addToServer(server)
      const add = GrpcJsServer.addTo(server, { without: ["grpc.health.v1.Health"] }).pipe(
        Effect.provide(SidecarRoutesLayer.layer.pipe(Layer.provideMerge(new World().layer())))
      )
      const port = yield* Effect.acquireRelease(
        Effect.callback<number>((resume) => {
          server.bindAsync(
            "127.0.0.1:0",
            grpc.ServerCredentials.createInsecure(),
            (_error, port) => resume(Effect.succeed(port))
          )
        }),
        () => Effect.sync(() => server.forceShutdown())
      )
      const gateway = new GrpcJsGateway(`127.0.0.1:${port}`)
      yield* Effect.addFinalizer(() => Effect.sync(() => gateway.close()))
      const codeOf = (path: string, request: Uint8Array) =>
        Effect.promise(() => gateway.call({ path, requests: [request] }).status).pipe(Effect.map(({ code }) => code))
      const status = codeOf("/cy.llm.AiInference/Control", control("sidecar.status"))
      const scope = yield* Scope.make()
      yield* Scope.provide(add, scope)
      assert.strictEqual(yield* status, Code.OK)
      // The embedder's own Health, which says SERVING for "" and knows no other.
      assert.strictEqual(
        yield* codeOf(check.path, check.requestSerialize({ service: "cy.llm.AiInference" })),
        Code.NOT_FOUND
      )
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* status, Code.UNIMPLEMENTED)
      assert.strictEqual(yield* codeOf(check.path, check.requestSerialize({ service: "" })), Code.OK)
    }).pipe(Effect.scoped))
})
