import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Scope } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { concat, frame } from "../../src/internal/wire/frames.ts"
import { UnfinishedBytes } from "../../src/internal/wire/unfinishedBytes.ts"
import * as PromMetrics from "../../src/layers/PromMetrics.ts"
import type { GatewayMetrics } from "../../src/services/GatewayMetrics.ts"
import { type BindError, GrpcServer, SidecarRoutes } from "../../src/services/GrpcServer.ts"
import { MessageBudget } from "../../src/services/MessageBudget.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import * as Status from "../../src/services/Status.ts"
import { eventually, Inbox } from "../support/events.ts"
import { settings } from "../support/fakeServices.ts"
import { collect, trailer } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { Http2Gateway } from "../support/http2Gateway.ts"
import { request, tokens } from "../support/protobuf.ts"
import { handToTest, type ServerSideCall } from "../support/serverSide.ts"
import { fixture, secureGateway } from "../support/twins/tls.ts"

/** A GrpcServer under test. */
export interface ServerSubject {
  readonly layer: Layer.Layer<GrpcServer, BindError, SidecarConfig | SidecarRoutes | GatewayMetrics>
  /** It cannot end a call whose gateway does not read, nor close the HTTP/2 stream of one that does not half-close. */
  readonly cannotReset?: boolean
  /** It leaves the checks of HTTP and of half messages to its library. */
  readonly lenient?: boolean
}

const { Code } = Status

const wait = <A>(promise: Promise<A>): Effect.Effect<A> => Effect.promise(() => promise)

/** The common name in the client certificate of the fixtures. */
const CLIENT_NAME = "gateway"

/** A call that its handler may or may not see. */
const WRONG = "/t.Test/Wrong"

/** A server of its own with the handlers of a test. */
interface Served {
  readonly server: GrpcServer["Service"]
  readonly address: string
  readonly calls: Inbox<ServerSideCall>
}

/** What every {@link GrpcServer} does, seen by a grpc-js client and by one on bare HTTP/2. */
export const serverSuite = (name: string, subject: ServerSubject): void => {
  const serve = (server: Readonly<Record<string, unknown>> = {}) =>
    Effect.gen(function*() {
      const calls = new Inbox<ServerSideCall>()
      const handler = handToTest(calls)
      const context = yield* Layer.build(
        subject.layer.pipe(
          Layer.provide(Logger.layer([])),
          Layer.provide(PromMetrics.layer),
          Layer.provide(Layer.succeed(SidecarRoutes, {
            routes: new Map([["/t.Test/Known", handler]]),
            fallback: handler
          })),
          Layer.provide(Layer.succeed(SidecarConfig, settings({ server: { bind_addr: "127.0.0.1:0", ...server } })))
        )
      )
      const grpcServer = yield* GrpcServer.pipe(Effect.provide(context))
      return { server: grpcServer, address: grpcServer.addresses[0]!, calls } satisfies Served
    })

  const grpcJs = (address: string) =>
    Effect.acquireRelease(
      Effect.sync(() => new GrpcJsGateway(address)),
      (gateway) => Effect.sync(() => gateway.close())
    )
  const http2 = (address: string, window?: number) =>
    Effect.acquireRelease(
      Effect.sync(() => new Http2Gateway(address, window)),
      (gateway) => Effect.promise(() => gateway.close())
    )

  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cyg-"))
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }))

  describe(`${name}: a call`, () => {
    const scope = Scope.makeUnsafe()
    let served: Served
    beforeAll(async () => {
      served = await Effect.runPromise(Scope.provide(serve(), scope))
    })
    afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))
    /** Takes the next call and starts it. */
    const next = Effect.suspend(() =>
      Effect.map(wait(served.calls.take((side) => side.call.path !== WRONG)), (side) => {
        side.read()
        return side
      })
    )

    it.live("carries frames both ways, in order and byte for byte", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const requests = [request(), Buffer.alloc(0), request({ prompt: "长".repeat(100_000) })]
        const answers = [...tokens(200), Buffer.alloc(0), Buffer.alloc(300_000, 7)]
        const call = gateway.call({ requests })
        const side = yield* next
        yield* wait(side.halfClosed.promise)
        assert.strictEqual(side.requests.all.length, requests.length)
        assert.strictEqual(Buffer.concat(side.batches).compare(concat(requests.map((message) => frame(message)))), 0)
        side.call.write(concat(answers.slice(0, 200).map((message) => frame(message))))
        for (const message of answers.slice(200)) side.call.write(frame(message))
        side.end(Status.ok)
        const { messages, status } = yield* wait(collect(call))
        assert.strictEqual(status.code, Code.OK)
        assert.strictEqual(Buffer.concat(messages).compare(Buffer.concat(answers)), 0)
        assert.strictEqual(messages.length, answers.length)
      }).pipe(Effect.scoped))

    it.live("tells path, metadata, deadline and peer", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const call = gateway.call({
          path: "/t.Test/Known",
          timeoutMillis: 60_000,
          metadata: [["authorization", "Bearer t"], ["x-many", "a"], ["x-raw-bin", Buffer.from([0, 255, 16])]]
        })
        const side = yield* next
        assert.strictEqual(side.call.path, "/t.Test/Known")
        assert.strictEqual(side.call.metadata["authorization"], "Bearer t")
        assert.strictEqual(side.call.metadata["x-many"], "a")
        assert.strictEqual(String(side.call.metadata["x-raw-bin"]).replace(/=+$/, ""), "AP8Q")
        assert.isAtMost(side.call.timeoutMillis ?? 0, 60_000)
        assert.isAbove(side.call.timeoutMillis ?? 0, 30_000)
        assert.isTrue(side.call.peer.trusted)
        assert.include(side.call.peer.address, "127.0.0.1:")
        side.end(Status.ok)
        yield* wait(call.status)
        gateway.call()
        const endless = yield* next
        assert.isUndefined(endless.call.timeoutMillis)
        endless.end(Status.ok)
      }).pipe(Effect.scoped))

    it.live("sends initial metadata when it is told to, before any frame", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const call = gateway.call()
        const side = yield* next
        side.call.sendHeaders({ "x-first": "1", "x-raw-bin": "AP8", "connection": "close", "grpc-status": "7" })
        const headers = yield* wait(call.headers)
        assert.deepStrictEqual(headers.get("x-first"), ["1"])
        assert.deepStrictEqual(headers.get("x-raw-bin"), ["AP8="])
        side.end(Status.ok)
        assert.strictEqual((yield* wait(call.status)).code, Code.OK)
      }).pipe(Effect.scoped))

    it.live("refuses with Trailers-Only, with message, details and trailers", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const call = gateway.call()
        const side = yield* next
        side.end(Status.make(Code.UNAVAILABLE, "工人在重启 100%\n", {
          "grpc-retry-pushback-ms": "1500",
          "grpc-status-details-bin": "CA4",
          "cy-reason": "x"
        }))
        const status = yield* wait(call.status)
        assert.isTrue(status.trailersOnly)
        assert.deepStrictEqual([status.code, status.message], [Code.UNAVAILABLE, "工人在重启 100%\n"])
        assert.strictEqual(trailer(status, "grpc-retry-pushback-ms"), "1500")
        assert.strictEqual(trailer(status, "grpc-status-details-bin"), "CA4=")
        assert.strictEqual(trailer(status, "cy-reason"), "x")
      }).pipe(Effect.scoped))

    it.live("lets every frame leave before an error", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const call = gateway.call()
        const side = yield* next
        for (const message of tokens(500)) side.call.write(frame(message))
        side.end(Status.make(Code.RESOURCE_EXHAUSTED, "oom"))
        const { messages, status } = yield* wait(collect(call))
        assert.strictEqual(messages.length, 500)
        assert.deepStrictEqual([status.code, status.message], [Code.RESOURCE_EXHAUSTED, "oom"])
      }).pipe(Effect.scoped))

    it.live("hears a cancellation and interrupts the handler", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const call = gateway.call({ requests: [request()], halfClose: false })
        const side = yield* next
        side.call.write(frame(tokens(1)[0]!))
        yield* wait(call.messages.count(1, "a token"))
        call.cancel()
        assert.strictEqual(yield* wait(side.departed.promise), "cancelled")
        yield* wait(side.interrupted.promise)
        assert.isTrue(side.call.write(frame(request())))
        side.end(Status.ok)
      }).pipe(Effect.scoped))

    it.live("hears a gateway that vanishes", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        gateway.call({ halfClose: false })
        const side = yield* next
        gateway.destroy()
        yield* wait(side.departed.promise)
        yield* wait(side.interrupted.promise)
      }).pipe(Effect.scoped))

    it.live("ends a call whose gateway has not half-closed", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const call = gateway.call({ requests: [request()], halfClose: false })
        const side = yield* next
        side.call.write(frame(tokens(1)[0]!))
        side.end(Status.ok)
        yield* wait(call.messages.count(1, "a token"))
        if (subject.cannotReset === true) call.halfClose()
        assert.strictEqual((yield* wait(call.status)).code, Code.OK)
        assert.strictEqual(yield* wait(call.closed), 0)
      }).pipe(Effect.scoped))

    it.live("says when a gateway that does not read is full, and when it takes more", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const call = gateway.call({ reading: false })
        const side = yield* next
        const message = frame(Buffer.alloc(1000))
        let written = 0
        while (side.write(message)) written++
        // The window and Node's own buffer, and no more.
        assert.isBelow(written, 2000)
        while (side.call.pendingBytes < 65_535) {
          side.write(message)
          written++
        }
        call.readAll()
        yield* wait(side.drained.count(1, "a drain"))
        side.end(Status.ok)
        const { messages, status } = yield* wait(collect(call))
        assert.strictEqual(status.code, Code.OK)
        assert.strictEqual(messages.length, written + 1)
      }).pipe(Effect.scoped))

    it.live("stops to read while the handler is full", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const call = gateway.call({ halfClose: false })
        const side = yield* next
        side.full = true
        const message = Buffer.alloc(1000)
        for (let n = 0; n < 2000; n++) call.send(message)
        yield* wait(side.requests.count(1, "a request"))
        yield* Effect.sleep(50)
        assert.isBelow(side.requests.all.length, 1500)
        side.full = false
        side.read()
        yield* wait(side.requests.count(2000, "all requests"))
        call.halfClose()
        yield* wait(side.halfClosed.promise)
        side.end(Status.ok)
        assert.strictEqual((yield* wait(call.status)).code, Code.OK)
      }).pipe(Effect.scoped))

    it.live.skipIf(subject.cannotReset === true)(
      "ends a call whose gateway has stopped to read",
      () =>
        Effect.gen(function*() {
          const gateway = yield* http2(served.address)
          const call = gateway.call({ reading: false })
          const side = yield* next
          const message = frame(Buffer.alloc(1000))
          for (let n = 0; n < 1000; n++) side.call.write(message)
          side.end(Status.make(Code.DEADLINE_EXCEEDED), "now")
          assert.strictEqual(yield* wait(call.closed), 8)
        }).pipe(Effect.scoped)
    )

    it.live("answers what cannot be sent as it is, and spares its neighbours", () =>
      Effect.gen(function*() {
        const gateway = yield* grpcJs(served.address)
        const neighbour = gateway.call({ halfClose: false })
        const spared = yield* next
        const ends = [
          Status.make(Code.INTERNAL, "half \ud800 of a character"),
          Status.make(Code.INTERNAL, "满".repeat(5000)),
          Status.make(Code.INTERNAL, "x", {
            "http2-settings": "x",
            connection: "close",
            "Bad Key": "v",
            "x-v": "\u0001"
          }),
          Status.make(Code.INTERNAL, "x", { "x-large": "v".repeat(20_000), "grpc-status": "0" }),
          Status.make(Code.INTERNAL, "x", { date: ["a", "b"], authorization: ["a", "b"] })
        ]
        for (const withFrame of [false, true]) {
          for (const end of ends) {
            const call = gateway.call()
            const side = yield* next
            if (withFrame) side.call.write(frame(tokens(1)[0]!))
            side.end(end)
            const status = yield* wait(call.status)
            assert.strictEqual(status.code, Code.INTERNAL, end.message.slice(0, 20))
            let bytes = Buffer.byteLength(encodeURI(status.message))
            for (const [key, values] of status.trailers) {
              for (const value of values) bytes += key.length + value.length + 32
            }
            assert.isBelow(bytes, 8000)
          }
        }
        spared.call.write(frame(tokens(1)[0]!))
        yield* wait(neighbour.messages.count(1, "the neighbour's token"))
        spared.end(Status.ok)
        assert.strictEqual((yield* wait(neighbour.status)).code, Code.OK)
      }).pipe(Effect.scoped))

    it.live("takes grpc-timeout at its extremes", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const long = gateway.call({ headers: { "grpc-timeout": subject.lenient === true ? "500H" : "99999999H" } })
        const side = yield* next
        assert.isAbove(side.call.timeoutMillis ?? 0, 3_600_000)
        side.end(Status.ok)
        assert.strictEqual((yield* wait(long.status)).code, Code.OK)
        const wrong = gateway.call({ path: WRONG, headers: { "grpc-timeout": "soon" } })
        assert.strictEqual((yield* wait(wrong.status)).code, Code.INTERNAL)
      }).pipe(Effect.scoped))

    it.live("serves a call with headers that must never be passed on", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const call = gateway.call({ poison: [["http2-settings", "x"]] })
        const side = yield* next
        side.end(Status.ok)
        assert.strictEqual((yield* wait(call.status)).code, Code.OK)
      }).pipe(Effect.scoped))

    it.live.skipIf(subject.lenient === true)("answers what is not gRPC in HTTP", () =>
      Effect.gen(function*() {
        const gateway = yield* http2(served.address)
        const get = gateway.call({ headers: { ":method": "GET" } })
        assert.include((yield* wait(get.status)).message, "http 405")
        const json = gateway.call({ headers: { "content-type": "application/json" } })
        assert.include((yield* wait(json.status)).message, "http 415")
      }).pipe(Effect.scoped))

    it.live.skipIf(subject.lenient === true)(
      "refuses a request that ends inside a message",
      () =>
        Effect.gen(function*() {
          const gateway = yield* http2(served.address)
          const call = gateway.call({ halfClose: false })
          const side = yield* next
          call.write(frame(request()).subarray(0, 9))
          call.halfClose()
          assert.strictEqual((yield* wait(call.status)).code, Code.INTERNAL)
          assert.strictEqual(yield* wait(side.departed.promise), "rejected")
          yield* wait(side.interrupted.promise)
        }).pipe(Effect.scoped)
    )
  })

  describe(`${name}: limits and life`, () => {
    it.live("refuses a message over max_message_bytes", () =>
      Effect.gen(function*() {
        const { address, calls } = yield* serve({ max_message_bytes: 1000 })
        const gateway = yield* grpcJs(address)
        const call = gateway.call({ requests: [Buffer.alloc(1001)] })
        const side = yield* wait(calls.take())
        side.read()
        assert.strictEqual((yield* wait(call.status)).code, Code.RESOURCE_EXHAUSTED)
        yield* wait(side.interrupted.promise)
        const next = gateway.call({ requests: [Buffer.alloc(1000)] })
        const fine = yield* wait(calls.take())
        fine.read()
        yield* wait(fine.requests.count(1, "the request"))
        fine.end(Status.ok)
        assert.strictEqual((yield* wait(next.status)).code, Code.OK)
      }).pipe(Effect.scoped))

    it.live("lets running calls finish when it stops to accept, and then is idle", () =>
      Effect.gen(function*() {
        const { address, calls, server } = yield* serve()
        const gateway = yield* http2(address)
        const call = gateway.call()
        const side = yield* wait(calls.take())
        side.read()
        yield* server.stopAccepting
        yield* wait(gateway.goaway.promise)
        side.call.write(frame(tokens(1)[0]!))
        side.end(Status.ok)
        const { messages, status } = yield* wait(collect(call))
        assert.deepStrictEqual([messages.length, status.code], [1, Code.OK])
        yield* server.awaitIdle
        const late = yield* grpcJs(address)
        assert.strictEqual((yield* wait(late.call().status)).code, Code.UNAVAILABLE)
      }).pipe(Effect.scoped))

    it.live("ends what still runs when its scope closes", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { address, calls } = yield* Scope.provide(serve(), scope)
        const gateway = yield* http2(address)
        const call = gateway.call()
        const side = yield* wait(calls.take())
        side.read()
        yield* Scope.close(scope, Exit.void)
        yield* wait(side.interrupted.promise)
        assert.notStrictEqual((yield* wait(call.status)).code, Code.OK)
        yield* wait(gateway.closed.promise)
      }).pipe(Effect.scoped))

    it.live("listens on several addresses, and trusts a Unix socket", () =>
      Effect.gen(function*() {
        const socketPath = path.join(folder, "a.sock")
        const { calls, server } = yield* serve({ bind_addr: ["127.0.0.1:0", `unix://${socketPath}`] })
        assert.strictEqual(server.addresses.length, 2)
        assert.match(server.addresses[0]!, /^127\.0\.0\.1:[1-9]\d*$/)
        assert.strictEqual(server.addresses[1], `unix://${socketPath}`)
        for (const address of server.addresses) {
          const gateway = yield* grpcJs(address)
          const call = gateway.call()
          const side = yield* wait(calls.take())
          side.read()
          assert.isTrue(side.call.peer.trusted)
          side.end(Status.ok)
          assert.strictEqual((yield* wait(call.status)).code, Code.OK)
        }
      }).pipe(Effect.scoped))

    it.live("gives its Unix socket the permissions and the group of the configuration", () =>
      Effect.gen(function*() {
        const at = (file: string) => path.join(folder, file)
        const modeOf = (file: string) => (fs.statSync(at(file)).mode & 0o777).toString(8)
        yield* serve({ bind_addr: `unix://${at("m.sock")}`, bind_mode: "0660" })
        assert.strictEqual(modeOf("m.sock"), "660")
        yield* serve({ bind_addr: `unix://${at("g.sock")}`, bind_mode: "600", bind_group: process.getgid?.() })
        assert.strictEqual(modeOf("g.sock"), "600")
        assert.strictEqual(fs.statSync(at("g.sock")).gid, process.getgid?.())
        const group = yield* Effect.flip(
          Effect.scoped(serve({ bind_addr: `unix://${at("n.sock")}`, bind_group: "no-such-group" }))
        )
        assert.deepStrictEqual([group.key, group.reason], ["[server] bind_group", "forbidden"])
        assert.include(group.message, "no group no-such-group")
      }).pipe(Effect.scoped))

    it.live("trusts whom control names", () =>
      Effect.gen(function*() {
        const trusted = (control: unknown) =>
          Effect.scoped(Effect.gen(function*() {
            const socketPath = path.join(folder, "c.sock")
            const { calls, server } = yield* serve({ bind_addr: ["127.0.0.1:0", `unix://${socketPath}`], control })
            const seen: Array<boolean> = []
            for (const address of server.addresses) {
              const gateway = yield* grpcJs(address)
              gateway.call()
              const side = yield* wait(calls.take())
              seen.push(side.call.peer.trusted)
              side.end(Status.ok)
            }
            return seen
          }))
        assert.deepStrictEqual(yield* trusted("local"), [true, true])
        assert.deepStrictEqual(yield* trusted("unix"), [false, true])
        assert.deepStrictEqual(yield* trusted("off"), [false, false])
        assert.deepStrictEqual(yield* trusted(["ops"]), [false, false])
      }))

    const tlsServed = (control: unknown) =>
      serve({
        tls_cert: fixture("server.crt"),
        tls_key: fixture("server.key"),
        tls_client_ca: fixture("ca.crt"),
        control
      })

    it.live("trusts a name in a client certificate when control names it, and no certificate by itself", () =>
      Effect.gen(function*() {
        const trusted = (control: unknown) =>
          Effect.scoped(Effect.gen(function*() {
            const { address, calls } = yield* tlsServed(control)
            const gateway = yield* Effect.acquireRelease(
              Effect.sync(() => secureGateway(address, "client")),
              (gateway) => Effect.sync(() => gateway.close())
            )
            gateway.call()
            const side = yield* wait(calls.take())
            const seen = side.call.peer.trusted
            side.end(Status.ok)
            return seen
          }))
        assert.isFalse(yield* trusted("unix"))
        assert.isFalse(yield* trusted(["somebody else"]))
        assert.isTrue(yield* trusted(["somebody else", CLIENT_NAME]))
      }))

    it.live.skipIf(subject.lenient === true)(
      "lets large half messages wait for each other's memory, and ends one that is overdue",
      () =>
        Effect.gen(function*() {
          const budget = new UnfinishedBytes({ limit: 250_000, onBytes: () => undefined, onFull: () => undefined })
          const { address, calls } = yield* serve().pipe(
            Effect.provideService(MessageBudget, { share: (holder) => budget.share(holder) })
          )
          const message = frame(Buffer.alloc(400_000, 7))
          const half = Effect.gen(function*() {
            const gateway = yield* http2(address)
            const call = gateway.call({ requests: [], halfClose: false })
            const side = yield* wait(calls.take())
            side.read()
            call.write(message.subarray(0, 300_000))
            return { call, side }
          })
          const first = yield* half
          yield* wait(eventually("all of the half", () => budget.bytes === 300_000 ? true : undefined))
          const second = yield* half
          yield* wait(eventually("a call that waits", () => budget.waiting === 1 ? true : undefined))
          assert.isBelow(budget.bytes, 500_000)
          budget.look(0)
          const status = yield* wait(first.call.status)
          assert.deepStrictEqual([status.code, trailer(status, "cy-reason")], [
            Code.RESOURCE_EXHAUSTED,
            "message_overdue"
          ])
          second.call.write(message.subarray(300_000))
          yield* wait(second.side.requests.count(1, "the message"))
          assert.strictEqual(budget.bytes, 0)
          second.side.end(Status.ok)
        }).pipe(Effect.scoped)
    )

    const bindFault = (bind_addr: string) =>
      Effect.scoped(serve({ bind_addr })).pipe(Effect.flip, Effect.map((error) => [error.reason, error.key]))

    it.live("tells why it cannot listen", () =>
      Effect.gen(function*() {
        const busy = yield* serve()
        assert.deepStrictEqual(yield* bindFault(busy.address), ["in_use", "[server] bind_addr"])
        const file = path.join(folder, "file")
        fs.writeFileSync(file, "")
        assert.deepStrictEqual(yield* bindFault(`unix://${file}`), ["not_a_socket", "[server] bind_addr"])
        assert.isTrue(fs.existsSync(file))
        const socketPath = path.join(folder, "busy.sock")
        yield* serve({ bind_addr: `unix://${socketPath}` })
        assert.deepStrictEqual(yield* bindFault(`unix://${socketPath}`), ["in_use", "[server] bind_addr"])
      }).pipe(Effect.scoped))

    it.live("takes the place of a stale socket file", () =>
      Effect.gen(function*() {
        const socketPath = path.join(folder, "stale.sock")
        const stale = net.createServer()
        yield* Effect.callback<void>((resume) => {
          stale.listen(`${socketPath}.old`, () => resume(Effect.void))
        })
        // A file whose server is gone: Node removes it on close, a copy of its name stays.
        fs.linkSync(`${socketPath}.old`, socketPath)
        yield* Effect.callback<void>((resume) => {
          stale.close(() => resume(Effect.void))
        })
        const { address, calls } = yield* serve({ bind_addr: `unix://${socketPath}` })
        const gateway = yield* grpcJs(address)
        const call = gateway.call()
        const side = yield* wait(calls.take())
        side.read()
        side.end(Status.ok)
        assert.strictEqual((yield* wait(call.status)).code, Code.OK)
        yield* wait(eventually("the socket", () => fs.existsSync(socketPath) ? true : undefined))
      }).pipe(Effect.scoped))
  })
}
