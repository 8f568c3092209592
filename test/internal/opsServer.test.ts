import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber } from "effect"
import * as http from "node:http"
import { connect, type Socket } from "node:net"
import { gunzipSync } from "node:zlib"
import { acceptsGzip, prefersOpenMetrics } from "../../src/internal/ops/accepted.ts"
import type { OpsLimit } from "../../src/internal/ops/opsConnections.ts"
import { type OpsAnswer, type OpsPages, serve } from "../../src/internal/ops/opsServer.ts"
import { sharedAnswer } from "../../src/internal/ops/sharedAnswer.ts"

const get = "GET /page HTTP/1.1\r\nHost: x\r\n\r\n"

const pages = (page: Effect.Effect<OpsAnswer>): OpsPages => new Map([["/page", page]])

/** A server of one page, and what its limits said. */
const server = (page: Effect.Effect<OpsAnswer>, maxConnections = 10) =>
  Effect.gen(function*() {
    const limits: Array<OpsLimit> = []
    const onLimit = (limit: OpsLimit, peer: string): void => {
      assert.strictEqual(peer, "127.0.0.1")
      limits.push(limit)
    }
    const port = yield* serve(pages(page), { host: "127.0.0.1", port: 0, maxConnections, onLimit })
    return { port, limits }
  })

interface Peer {
  readonly socket: Socket
  /** What it got until it was closed. */
  readonly whole: Effect.Effect<string>
  /** Completes when so many answers have come. */
  readonly answers: (count: number) => Effect.Effect<void>
}

const peer = (port: number) =>
  Effect.callback<Peer>((resume) => {
    let text = ""
    const closed = Deferred.makeUnsafe<string>()
    const socket = connect(port, "127.0.0.1", () =>
      resume(Effect.succeed({
        socket,
        whole: Deferred.await(closed),
        answers: (count) =>
          Effect.callback<void>((done) => {
            const look = () => {
              if (text.split("HTTP/1.1 200").length > count) done(Effect.void)
            }
            socket.on("data", look)
            look()
          })
      })))
    socket.on("data", (part: Buffer) => void (text += part.toString()))
    // A connection that the server cuts may end with a reset.
    socket.on("error", () => undefined)
    socket.on("close", () => Deferred.doneUnsafe(closed, Effect.succeed(text)))
  })

describe("what a request accepts", () => {
  const prometheus2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
  const prometheus3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
  it.each([
    [prometheus2, true],
    [prometheus3, true],
    ["application/openmetrics-text", true],
    ["Application/OpenMetrics-Text ; Version = 1.0.0", true],
    ["text/plain, application/openmetrics-text;q=0.9", false],
    ["application/openmetrics-text;q=0", false],
    ["application/openmetrics-text;q=zero", false],
    ["application/openmetrics-text; version=2.0.0", false],
    ["application/openmetrics-text; version=0.0.1", false],
    ["text/html,application/xhtml+xml,*/*;q=0.8", false],
    [",;,;=".repeat(2000), false],
    [undefined, false]
  ])("of %s: OpenMetrics %s", (header, expected) => assert.strictEqual(prefersOpenMetrics(header), expected))

  it.each([
    ["gzip", true],
    ["deflate, gzip;q=1.0, *;q=0.5", true],
    ["br, X-GZIP", true],
    ["*", true],
    ["gzip;q=0", false],
    ["*, gzip;q=0", false],
    ["identity", false],
    ["", false],
    [undefined, false]
  ])("of %j: gzip %s", (header, expected) => assert.strictEqual(acceptsGzip(header), expected))
})

describe("the operators' port", () => {
  it.live("compresses an answer for those who accept that, and leaves short ones as they are", () =>
    Effect.gen(function*() {
      let page: OpsAnswer = { body: "sidecar ".repeat(1000) }
      const { port } = yield* server(Effect.sync(() => page))
      const ask = (headers: Readonly<Record<string, string>>, method = "GET") =>
        Effect.callback<{ readonly encoding: string | undefined; readonly length: number; readonly text: string }>(
          (resume) => {
            const request = http.request({ port, path: "/page", method, headers, agent: false }, (response) => {
              const parts: Array<Buffer> = []
              response.on("data", (part: Buffer) => void parts.push(part))
              response.on("end", () => {
                const body = Buffer.concat(parts)
                const encoding = response.headers["content-encoding"]
                const text = (encoding === "gzip" && body.length > 0 ? gunzipSync(body) : body).toString()
                assert.strictEqual(response.headers.vary, "accept, accept-encoding")
                resume(Effect.succeed({ encoding, length: Number(response.headers["content-length"]), text }))
              })
            })
            request.end()
          }
        )
      const gzip = yield* ask({ "accept-encoding": "gzip" })
      assert.deepStrictEqual([gzip.encoding, gzip.text], ["gzip", page.body])
      assert.isBelow(gzip.length, 200)
      assert.deepStrictEqual(yield* ask({ "accept-encoding": "gzip" }, "HEAD"), { ...gzip, text: "" })
      assert.deepStrictEqual(yield* ask({}), { encoding: undefined, length: 8000, text: page.body })
      page = { body: "short" }
      assert.deepStrictEqual(yield* ask({ "accept-encoding": "gzip" }), {
        encoding: undefined,
        length: 5,
        text: "short"
      })
    }).pipe(Effect.scoped))

  it.live("answers the requests of one connection one after the other, in order", () =>
    Effect.gen(function*() {
      let running = 0
      let most = 0
      let made = 0
      const page = Effect.gen(function*() {
        most = Math.max(most, ++running)
        yield* Effect.sleep(1)
        running--
        return { body: `answer ${++made}\n` }
      })
      const { limits, port } = yield* server(page)
      const one = yield* peer(port)
      one.socket.write(get.repeat(20))
      yield* one.answers(20)
      one.socket.end()
      const bodies = (yield* one.whole).match(/answer \d+/g)
      assert.deepStrictEqual(bodies, Array.from({ length: 20 }, (_, n) => `answer ${n + 1}`))
      assert.strictEqual(most, 1)
      assert.deepStrictEqual(limits, [])
    }).pipe(Effect.scoped))

  it.live("closes a connection that asks far ahead of the answers, once told, and makes its page no more", () =>
    Effect.gen(function*() {
      let made = 0
      const { limits, port } = yield* server(Effect.sync(() => ({ body: `answer ${++made}\n` })))
      const flood = yield* peer(port)
      flood.socket.write(get.repeat(3000))
      yield* flood.whole
      assert.deepStrictEqual(limits, ["pipelined"])
      assert.isAtMost(made, 33)
      const other = yield* peer(port)
      other.socket.write(get)
      yield* other.answers(1)
      other.socket.destroy()
    }).pipe(Effect.scoped))

  it.live("makes room for a new connection by closing the one that is idle for longest, never one that is answered", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      const { limits, port } = yield* server(Effect.as(Deferred.await(go), { body: "late\n" }), 3)
      const busy = yield* peer(port)
      busy.socket.write(get)
      const idle = [yield* peer(port), yield* peer(port)] as const
      const late = yield* peer(port)
      assert.strictEqual(yield* idle[0].whole, "")
      assert.deepStrictEqual(limits, ["connections"])
      late.socket.write(get)
      yield* Deferred.succeed(go, undefined)
      yield* busy.answers(1)
      yield* late.answers(1)
      for (const one of [busy, idle[1], late]) one.socket.destroy()
    }).pipe(Effect.scoped))
})

describe("an answer that is shared", () => {
  /** A page that says how often it was made, and a clock. */
  const counted = () => {
    const world = { at: 0, made: 0 }
    const page = sharedAnswer(Effect.sync(() => ++world.made), () => world.at)
    return { world, page }
  }

  it.effect("is made once for all who ask while it is being made", () =>
    Effect.gen(function*() {
      const go = yield* Deferred.make<void>()
      let made = 0
      const page = sharedAnswer(
        Effect.as(Deferred.await(go), "answer").pipe(Effect.tap(() => Effect.sync(() => made++))),
        () => 0
      )
      const fibers = yield* Effect.forEach(
        Array.from({ length: 10 }),
        () => Effect.forkChild(page, { startImmediately: true })
      )
      yield* Deferred.succeed(go, undefined)
      assert.deepStrictEqual(yield* Effect.forEach(fibers, Fiber.join), Array(10).fill("answer"))
      assert.strictEqual(made, 1)
    }))

  it.effect("is of this moment for whoever asks now and then", () =>
    Effect.gen(function*() {
      const { page, world } = counted()
      for (let n = 1; n <= 200; n++) {
        assert.strictEqual(yield* page, n)
        world.at += 10
      }
    }))

  it.effect("is given again in a flood, and never older than 250 ms", () =>
    Effect.gen(function*() {
      const { page, world } = counted()
      for (let n = 0; n < 3000; n++) yield* page
      assert.strictEqual(world.made, 50)
      world.at = 249
      assert.strictEqual(yield* page, 50)
      world.at = 250
      assert.strictEqual(yield* page, 51)
    }))

  it.effect("is made anew after it failed", () =>
    Effect.gen(function*() {
      let made = 0
      const page = sharedAnswer(Effect.suspend(() => ++made === 1 ? Effect.fail("no") : Effect.succeed(made)), () => 0)
      assert.strictEqual(yield* Effect.flip(page), "no")
      assert.strictEqual(yield* page, 2)
    }))
})
