import { afterAll, assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, type Layer, Scope, Stream } from "effect"
import * as fs from "node:fs"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import { concat, frame } from "../../src/internal/wire/frames.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import { Code } from "../../src/services/Status.ts"
import { LinkError, WorkerChannel, type WorkerLink } from "../../src/services/WorkerChannel.ts"
import { eventually } from "../support/events.ts"
import { settings } from "../support/fakeServices.ts"
import { endOfStream, request, token, tokens, unknownField } from "../support/protobuf.ts"
import { openCall, PREDICT } from "../support/replies.ts"
import { TestWorker } from "../support/testWorker.ts"
import type { WorkerEngine } from "../support/workerProtocol.ts"

/** A WorkerChannel under test. */
export interface WorkerChannelSubject {
  readonly layer: Layer.Layer<WorkerChannel, never, SidecarConfig>
  /** Messages that came just before a status other than OK may be lost. Default: false. */
  readonly losesMessagesBeforeErrors?: boolean
}

const wait = <A>(promise: Promise<A>): Effect.Effect<A> => Effect.promise(() => promise)

/** A folder of its own, with a path that is short enough for a Unix socket. */
const socketFolder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "cyw-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const startWorker = (socketPath: string, engine: WorkerEngine = "http2") =>
  Effect.acquireRelease(
    Effect.promise(() => TestWorker.start(socketPath, engine)),
    (worker) => Effect.promise(() => worker.kill())
  )

/** A peer that is no worker, on a socket. */
const listen = (socketPath: string, onConnection: (socket: net.Socket) => void) =>
  Effect.acquireRelease(
    Effect.callback<net.Server>((resume) => {
      const server = net.createServer((socket) => {
        socket.on("error", () => undefined)
        onConnection(socket)
      })
      server.listen(socketPath, () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  )

const isForeign = (error: unknown): boolean => error instanceof LinkError && error.fault === "ForeignSocket"

const reasonOf = (exit: Exit.Exit<WorkerLink, LinkError>): string =>
  Exit.isSuccess(exit) ?
    "connected" :
    String(exit.cause.reasons.map((reason) => reason._tag === "Fail" ? reason.error.fault : reason._tag))

/**
 * What every {@link WorkerChannel} on a real socket does. The worker is a process of its own: `http2`, bare HTTP/2 that
 * can do what no gRPC library would, or `grpc-js`.
 */
export const workerChannelSuite = (name: string, subject: WorkerChannelSubject): void => {
  const channelAt = (socketPath: string, server: Readonly<Record<string, unknown>> = {}) => {
    const config = settings({ server })
    return WorkerChannel.pipe(
      Effect.provide(subject.layer),
      Effect.provideService(SidecarConfig, {
        ...config,
        server: { ...config.server, worker_uds: `unix://${socketPath}` }
      })
    )
  }

  const linkTo = Effect.fnUntraced(function*(worker: TestWorker, server: Readonly<Record<string, unknown>> = {}) {
    const channel = yield* channelAt(worker.socketPath, server)
    const scope = yield* Scope.fork(yield* Effect.scope)
    const link = yield* Scope.provide(channel.dial, scope)
    return { worker, channel, link, scope }
  })

  /** A worker that most tests share; each has a link of its own. */
  const shared = new Map<WorkerEngine, Promise<TestWorker>>()
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cys-"))
  afterAll(async () => {
    for (const worker of shared.values()) await (await worker).kill()
    fs.rmSync(folder, { recursive: true, force: true })
  })
  const linked = (engine: WorkerEngine = "http2", server: Readonly<Record<string, unknown>> = {}) =>
    Effect.suspend(() => {
      const worker = shared.get(engine) ?? TestWorker.start(path.join(folder, `${engine}.sock`), engine)
      shared.set(engine, worker)
      return Effect.flatMap(wait(worker), (worker) => linkTo(worker, server))
    })

  /** A worker of the test's own, for tests that end it. */
  const linkedAlone = (engine: WorkerEngine = "http2") =>
    Effect.flatMap(socketFolder, (folder) => startWorker(path.join(folder, "w.sock"), engine)).pipe(
      Effect.flatMap((worker) => linkTo(worker))
    )

  describe(`${name}: dialling`, () => {
    it.live("tells a missing, a stale and a wrong address apart", () =>
      Effect.gen(function*() {
        const folder = yield* socketFolder
        const at = (file: string) => path.join(folder, file)
        const dial = (socketPath: string) =>
          Effect.scoped(Effect.flatMap(channelAt(socketPath), (channel) => channel.dial)).pipe(
            Effect.exit,
            Effect.map(reasonOf)
          )
        assert.strictEqual(yield* dial(at("none.sock")), "SocketMissing")
        assert.strictEqual(yield* dial(at("no/such/folder.sock")), "SocketMissing")
        fs.writeFileSync(at("file"), "")
        assert.strictEqual(yield* dial(at("file")), "NotASocket")
        assert.strictEqual(yield* dial(folder), "NotASocket")
        assert.strictEqual(yield* dial(at("x".repeat(120))), "PathTooLong")
        const worker = yield* startWorker(at("stale.sock"))
        yield* wait(worker.kill())
        assert.strictEqual(yield* dial(at("stale.sock")), "ConnectionRefused")
      }).pipe(Effect.scoped))

    it.live("goes by TCP too, and tells its faults apart", () =>
      Effect.gen(function*() {
        const { worker } = yield* linked()
        const forward = yield* Effect.acquireRelease(
          Effect.callback<net.Server>((resume) => {
            const server = net.createServer((socket) => {
              const behind = net.connect(worker.socketPath)
              for (const one of [socket, behind]) one.on("error", () => undefined)
              socket.pipe(behind).pipe(socket)
            })
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.sync(() => server.close())
        )
        const bound = forward.address()
        assert(bound !== null && typeof bound === "object")
        const channelOn = (worker_uds: string) =>
          WorkerChannel.pipe(
            Effect.provide(subject.layer),
            Effect.provideService(SidecarConfig, settings({ server: { worker_uds } }))
          )
        const dial = (address: string) =>
          Effect.scoped(Effect.flatMap(channelOn(address), (channel) => channel.dial)).pipe(
            Effect.exit,
            Effect.map(reasonOf)
          )
        const address = `tcp://127.0.0.1:${bound.port}`
        const channel = yield* channelOn(address)
        assert.strictEqual(channel.address, address)
        const link = yield* channel.dial
        const { call, replies } = openCall(link)
        call.write(frame(request()))
        const seen = yield* wait(worker.nextCall())
        seen.answer(3)
        yield* wait(replies.messages.count(4, "the answer"))
        forward.close()
        const free = yield* Effect.callback<number>((resume) => {
          const server = net.createServer()
          server.listen(0, "127.0.0.1", () => {
            const at = server.address()
            server.close(() => resume(Effect.succeed(at !== null && typeof at === "object" ? at.port : 0)))
          })
        })
        assert.strictEqual(yield* dial(`tcp://127.0.0.1:${free}`), "ConnectionRefused")
        assert.strictEqual(yield* dial(`tcp://no-such-host.invalid:${free}`), "HostUnknown")
      }).pipe(Effect.scoped))

    it.live.skipIf(process.getuid?.() !== 0)(
      "dials no socket of a user who is not trusted",
      () =>
        Effect.gen(function*() {
          const socketPath = path.join(yield* socketFolder, "w.sock")
          const connections: Array<net.Socket> = []
          yield* listen(socketPath, (socket) => void connections.push(socket))
          fs.chownSync(socketPath, 65_534, 65_534)
          const dial = (server: Readonly<Record<string, unknown>>) =>
            Effect.scoped(Effect.flatMap(channelAt(socketPath, server), (channel) => channel.dial)).pipe(
              Effect.timeoutOption(500),
              Effect.exit
            )
          for (const server of [{}, { worker_user: 1 }, { worker_user: "no-such-user" }]) {
            const exit = yield* dial(server)
            assert(Exit.isFailure(exit))
            assert.isTrue(exit.cause.reasons.some((reason) => reason._tag === "Fail" && isForeign(reason.error)))
          }
          assert.strictEqual(connections.length, 0)
          for (const server of [{ worker_user: 65_534 }, { worker_user: "nobody" }]) {
            const before = connections.length
            yield* dial(server)
            assert.isAbove(connections.length, before)
          }
        }).pipe(Effect.scoped)
    )

    // Root may connect to every socket, so nothing can be shown.
    it.live.skipIf(process.getuid?.() === 0)("tells a socket without permission", () =>
      Effect.gen(function*() {
        const socketPath = path.join(yield* socketFolder, "w.sock")
        yield* startWorker(socketPath)
        fs.chmodSync(socketPath, 0)
        const channel = yield* channelAt(socketPath)
        assert.strictEqual(reasonOf(yield* Effect.exit(channel.dial)), "PermissionDenied")
      }).pipe(Effect.scoped))

    it.live("tells a peer that answers, but not gRPC", () =>
      Effect.gen(function*() {
        const socketPath = path.join(yield* socketFolder, "w.sock")
        yield* listen(socketPath, (socket) => {
          socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n"))
        })
        const channel = yield* channelAt(socketPath)
        assert.strictEqual(reasonOf(yield* Effect.exit(channel.dial)), "NotGrpc")
      }).pipe(Effect.scoped))

    it.live("tells a peer that hangs up at once", () =>
      Effect.gen(function*() {
        const socketPath = path.join(yield* socketFolder, "w.sock")
        yield* listen(socketPath, (socket) => socket.destroy())
        const channel = yield* channelAt(socketPath)
        assert.strictEqual(reasonOf(yield* Effect.exit(channel.dial)), "LinkBroken")
      }).pipe(Effect.scoped))

    it.live("waits for a peer that accepts and never answers, and leaves no socket when it is given up", () =>
      Effect.gen(function*() {
        const socketPath = path.join(yield* socketFolder, "w.sock")
        const accepted = yield* Deferred.make<net.Socket>()
        const closed = yield* Deferred.make<void>()
        yield* listen(socketPath, (socket) => {
          socket.resume()
          socket.once("close", () => Deferred.doneUnsafe(closed, Effect.void))
          Deferred.doneUnsafe(accepted, Effect.succeed(socket))
        })
        const channel = yield* channelAt(socketPath)
        const dialling = yield* Effect.scoped(channel.dial).pipe(Effect.forkChild({ startImmediately: true }))
        yield* Deferred.await(accepted)
        assert.isUndefined(dialling.pollUnsafe())
        yield* Fiber.interrupt(dialling)
        yield* Deferred.await(closed)
        // A worker that takes its place is dialled as if nothing had been.
        fs.rmSync(socketPath)
        yield* startWorker(socketPath)
        yield* channel.dial
      }).pipe(Effect.scoped))
  })

  describe(`${name}: a call`, () => {
    it.live("carries frames both ways, in order and byte for byte", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const requests = [request({ extra: unknownField }), request({ prompt: "再来" }), Buffer.alloc(0)]
        const answers = [
          token(0, "", { extra: unknownField }),
          Buffer.alloc(0),
          token(1, "x".repeat(300_000)),
          ...tokens(100, 2),
          endOfStream(102)
        ]
        const { call, replies } = openCall(link)
        call.write(concat(requests.slice(0, 2).map((message) => frame(message))))
        call.write(frame(requests[2]!))
        call.halfClose()
        const seen = yield* wait(worker.nextCall())
        yield* wait(seen.halfClosed.promise)
        assert.deepStrictEqual(seen.requests.all.map(String), requests.map(String))
        seen.send(...answers)
        seen.end()
        const end = yield* wait(replies.end)
        assert.deepInclude(end, { reason: "status" })
        assert.strictEqual(end.status.code, Code.OK)
        assert.strictEqual(
          Buffer.concat(replies.batches).compare(Buffer.concat(answers.map((message) => frame(message)))),
          0
        )
        assert.strictEqual(replies.ends, 1)
        assert.strictEqual(replies.order[0], "headers")
      }).pipe(Effect.scoped))

    it.live("puts frames together that come in pieces", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const bytes = Buffer.concat([...tokens(3), endOfStream(3)].map((message) => frame(message)))
        const { call, replies } = openCall(link)
        call.halfClose()
        const seen = yield* wait(worker.nextCall())
        for (let at = 0; at < bytes.length; at += 3) seen.data(bytes.subarray(at, at + 3))
        seen.trailers({ "grpc-status": "0" })
        yield* wait(replies.end)
        assert.strictEqual(Buffer.concat(replies.batches).compare(bytes), 0)
      }).pipe(Effect.scoped))

    it.live("carries 8 MiB in one message, both ways", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const large = Buffer.alloc(8 * 1024 * 1024, "大")
        const { call, replies } = openCall(link)
        call.write(frame(large))
        call.halfClose()
        const seen = yield* wait(worker.nextCall())
        assert.strictEqual((yield* wait(seen.request())).compare(large), 0)
        seen.send(large)
        seen.end()
        yield* wait(replies.end)
        assert.strictEqual(Buffer.from(replies.messages.all[0]!).compare(large), 0)
      }).pipe(Effect.scoped))

    it.live("carries metadata, binary metadata and the remaining time", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link, {
          timeoutMillis: 60_000,
          metadata: { authorization: "Bearer t", "x-many": ["a", "b"], "x-raw-bin": "AP8Q" }
        })
        const seen = yield* wait(worker.nextCall())
        assert.strictEqual(seen.path, PREDICT)
        assert.strictEqual(seen.headers["authorization"], "Bearer t")
        assert.strictEqual(seen.headers["x-many"], "a, b")
        assert.strictEqual(seen.headers["x-raw-bin"]?.replace(/=+$/, ""), "AP8Q")
        assert.strictEqual(seen.headers["te"], "trailers")
        assert.isAtMost(seen.timeoutMillis ?? 0, 60_000)
        assert.isAbove(seen.timeoutMillis ?? 0, 30_000)
        seen.sendHeaders([["x-first", "1"], ["x-bytes-bin", Buffer.from([0, 255])]])
        const headers = yield* wait(replies.headers.promise)
        assert.strictEqual(headers["x-first"], "1")
        assert.strictEqual(String(headers["x-bytes-bin"]).replace(/=+$/, ""), "AP8")
        call.cancel()
      }).pipe(Effect.scoped))

    it.live("takes the longest deadline there is", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call } = openCall(link, { timeoutMillis: 99_999_999 * 3_600_000 })
        const seen = yield* wait(worker.nextCall())
        assert.isAbove(seen.timeoutMillis ?? 0, 300 * 24 * 3_600_000)
        call.cancel()
      }).pipe(Effect.scoped))

    it.live("carries status, message, details and trailers", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked("grpc-js")
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(2))
        yield* wait(replies.messages.count(2, "tokens"))
        seen.end(Code.RESOURCE_EXHAUSTED, "显存满了 100%\n", [
          ["x-why", "oom"],
          ["grpc-status-details-bin", Buffer.from([8, 8])]
        ])
        const { reason, status } = yield* wait(replies.end)
        assert.strictEqual(reason, "status")
        assert.strictEqual(status.code, Code.RESOURCE_EXHAUSTED)
        assert.strictEqual(status.message, "显存满了 100%\n")
        assert.strictEqual(status.metadata["x-why"], "oom")
        assert.strictEqual(String(status.metadata["grpc-status-details-bin"]).replace(/=+$/, ""), "CAg")
      }).pipe(Effect.scoped))

    it.live("tells Trailers-Only without headers", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.end(Code.NOT_FOUND, "no such model", [["x-model", "q"]])
        const { reason, status } = yield* wait(replies.end)
        assert.deepStrictEqual([reason, status.code, status.message], ["status", Code.NOT_FOUND, "no such model"])
        assert.strictEqual(status.metadata["x-model"], "q")
        assert.deepStrictEqual(replies.order, ["end"])
      }).pipe(Effect.scoped))

    it.live("maps an answer that is HTTP and not gRPC", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.respond({ ":status": "503", "content-type": "text/html" }, true)
        const { reason, status } = yield* wait(replies.end)
        assert.deepStrictEqual([reason, status.code], ["status", Code.UNAVAILABLE])
      }).pipe(Effect.scoped))

    it.live("makes UNKNOWN of a grpc-status that is none", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.trailers({ "grpc-status": "abc" })
        const { reason, status } = yield* wait(replies.end)
        assert.deepStrictEqual([reason, status.code], ["status", Code.UNKNOWN])
      }).pipe(Effect.scoped))

    it.live("refuses a message over the limit and cancels the call", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked("http2", { max_message_bytes: 1000 })
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.send(tokens(1)[0]!)
        yield* wait(replies.messages.count(1, "the token before"))
        seen.send(Buffer.alloc(1001))
        const { status } = yield* wait(replies.end)
        assert.strictEqual(status.code, Code.RESOURCE_EXHAUSTED)
        assert.strictEqual(replies.messages.all.length, 1)
        yield* wait(seen.cancelled.promise)
      }).pipe(Effect.scoped))

    it.live("cancels at the worker, and hears nothing more", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        call.cancel()
        call.cancel()
        yield* wait(seen.cancelled.promise)
        yield* wait(seen.closed.promise)
        assert.isFalse(replies.ended)
        assert.isTrue(call.write(frame(request())))
        yield* wait(eventually("no open call", () => link.openCalls() === 0 ? true : undefined))
      }).pipe(Effect.scoped))

    it.live("holds the worker back while its listener is full, and loses nothing", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        replies.full = true
        const seen = yield* wait(worker.nextCall())
        const message = token(0, "y".repeat(1000))
        seen.burst(message, 20_000)
        yield* wait(seen.burstStalled.promise)
        assert.isBelow(replies.messages.all.length, 2000)
        replies.full = false
        call.resume()
        yield* wait(seen.burstDone.promise)
        seen.end()
        yield* wait(replies.end)
        assert.strictEqual(replies.messages.all.length, 20_000)
      }).pipe(Effect.scoped))

    it.live("tells the end only after a full listener has taken what came before", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        replies.full = true
        call.halfClose()
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(5))
        yield* wait(replies.messages.count(1, "a token"))
        seen.send(...tokens(20, 5))
        seen.end()
        yield* wait(seen.closed.promise)
        assert.isFalse(replies.ended)
        replies.full = false
        call.resume()
        yield* wait(replies.end)
        assert.strictEqual(replies.messages.all.length, 25)
        assert.strictEqual(replies.order.at(-1), "end")
      }).pipe(Effect.scoped))

    it.live("hands over what came before an error", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        replies.full = true
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(500))
        seen.end(Code.RESOURCE_EXHAUSTED, "oom")
        yield* wait(replies.messages.count(1, "a token"))
        replies.full = false
        call.resume()
        const { status } = yield* wait(replies.end)
        assert.strictEqual(status.code, Code.RESOURCE_EXHAUSTED)
        const got = Buffer.concat(replies.batches)
        const sent = Buffer.concat(tokens(500).map((message) => frame(message)))
        if (subject.losesMessagesBeforeErrors === true) {
          assert.strictEqual(got.compare(sent.subarray(0, got.length)), 0)
        } else assert.strictEqual(replies.messages.all.length, 500)
      }).pipe(Effect.scoped))

    it.live("tells when the request side takes frames again", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        const large = frame(Buffer.alloc(1024 * 1024))
        let written = 0
        while (call.write(large)) {
          written++
          assert.isBelow(written, 1000)
        }
        yield* wait(worker.nextCall())
        yield* wait(replies.drained.count(1, "a drain"))
        call.cancel()
      }).pipe(Effect.scoped))
  })

  describe(`${name}: a break`, () => {
    it.live("is a transport's end when the worker resets the stream", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        for (const code of [2, 8, 11, 0]) {
          const { replies } = openCall(link)
          const seen = yield* wait(worker.nextCall())
          seen.send(...tokens(1))
          yield* wait(replies.messages.count(1, "a token"))
          seen.reset(code)
          const end = yield* wait(replies.end)
          assert.deepStrictEqual([end.reason, end.status.code], ["transport", Code.UNAVAILABLE], `RST ${code}`)
        }
        assert.strictEqual(link.openCalls(), 0)
      }).pipe(Effect.scoped))

    it.live("is a refusal when the worker has not looked at the call", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.reset(7)
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["refused", Code.UNAVAILABLE])
      }).pipe(Effect.scoped))

    it.live("ends every call when the worker is killed, after the frames that came", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linkedAlone("grpc-js")
        const calls = [openCall(link), openCall(link)]
        for (let n = 0; n < calls.length; n++) (yield* wait(worker.nextCall())).send(...tokens(3))
        for (const { replies } of calls) yield* wait(replies.messages.count(3, "tokens"))
        yield* wait(worker.kill())
        assert.strictEqual((yield* link.gone).fault, "LinkBroken")
        for (const { replies } of calls) {
          const end = yield* wait(replies.end)
          assert.deepStrictEqual([end.reason, end.status.code], ["transport", Code.UNAVAILABLE])
        }
        const late = openCall(link)
        assert.strictEqual((yield* wait(late.replies.end)).reason, "refused")
        assert.isTrue(late.call.write(frame(request())))
      }).pipe(Effect.scoped))

    it.live("lets running calls finish after GOAWAY and opens no new one", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        seen.goaway(0)
        assert.strictEqual((yield* link.gone).fault, "GoingAway")
        assert.strictEqual((yield* wait(openCall(link).replies.end)).reason, "refused")
        seen.answer(4, 1)
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["status", Code.OK])
        assert.strictEqual(replies.messages.all.length, 6)
      }).pipe(Effect.scoped))

    it.live("takes GOAWAY with an error for a broken link", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        seen.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        seen.goaway(11)
        assert.strictEqual((yield* link.gone).fault, "LinkBroken")
        assert.isFalse(link.isGoingAway())
        const end = yield* wait(replies.end)
        assert.deepStrictEqual([end.reason, end.status.code], ["transport", Code.UNAVAILABLE])
      }).pipe(Effect.scoped))

    it.live("never reconnects by itself", () =>
      Effect.gen(function*() {
        const { channel, link, worker } = yield* linkedAlone()
        yield* wait(worker.kill())
        yield* link.gone
        const again = yield* startWorker(worker.socketPath)
        assert.strictEqual((yield* wait(openCall(link).replies.end)).reason, "refused")
        // The one connection that the new worker sees is the one that is dialled.
        yield* channel.dial
        yield* wait(again.connections.count(1, "a connection"))
        assert.strictEqual(again.connections.all.length, 1)
      }).pipe(Effect.scoped))

    it.live("ends the running calls when the link's scope closes, also with a frozen worker", () =>
      Effect.gen(function*() {
        const { link, scope, worker } = yield* linkedAlone()
        const { replies } = openCall(link)
        yield* wait(worker.nextCall())
        worker.signal("SIGSTOP")
        yield* Scope.close(scope, Exit.void)
        const end = yield* wait(replies.end)
        assert.strictEqual(end.reason, "transport")
        worker.signal("SIGCONT")
      }).pipe(Effect.scoped))
  })

  describe(`${name}: evidence`, () => {
    it.live("knows that the worker was heard", () =>
      Effect.gen(function*() {
        const { link, worker } = yield* linked()
        const { call, replies } = openCall(link)
        const seen = yield* wait(worker.nextCall())
        const before = link.timesHeard()
        seen.send(...tokens(1))
        yield* wait(replies.messages.count(1, "a token"))
        assert.isAbove(link.timesHeard(), before)
        assert.strictEqual(link.openCalls(), 1)
        call.cancel()
      }).pipe(Effect.scoped))

    it.live("hears of a worker that appears, is replaced and vanishes", () =>
      Effect.gen(function*() {
        const socketPath = path.join(yield* socketFolder, "w.sock")
        const channel = yield* channelAt(socketPath)
        assert.strictEqual(channel.address, `unix://${socketPath}`)
        const changes: Array<string> = []
        yield* channel.addressChanges.pipe(
          Stream.runForEach((change) => Effect.sync(() => changes.push(change))),
          Effect.forkScoped({ startImmediately: true })
        )
        const heard = (change: string) =>
          wait(eventually(change, () => changes.includes(change) ? changes.splice(0) : undefined))
        yield* listen(socketPath, () => undefined)
        yield* heard("appeared")
        const other = `${socketPath}.new`
        yield* listen(other, () => undefined)
        fs.renameSync(other, socketPath)
        yield* heard("replaced")
        fs.rmSync(socketPath)
        yield* heard("vanished")
      }).pipe(Effect.scoped))
  })
}
