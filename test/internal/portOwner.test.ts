import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { createServer, type ServerResponse } from "node:http"
import { portOwner } from "../../src/internal/ops/portOwner.ts"

/** Someone on a port of their own, who answers like this. */
const neighbour = (answer: (response: ServerResponse) => void) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly close: () => void }>((resume) => {
      const server = createServer((_, response) => {
        response.on("error", () => undefined)
        answer(response)
      })
      server.listen(0, "127.0.0.1", () => {
        const address = server.address()
        if (address === null || typeof address === "string") throw new Error("no port")
        resume(Effect.succeed({
          port: address.port,
          close: () => {
            server.close()
            server.closeAllConnections()
          }
        }))
      })
    }),
    ({ close }) => Effect.sync(close)
  ).pipe(Effect.map(({ port }) => port))

describe("who has a port", () => {
  it.live.each(
    [
      ["cy-llm worker", "# TYPE worker_inflight_requests gauge\nworker_inflight_requests 0\n"],
      ["sidecar", "sidecar_build_info{version=\"1\"} 1\n"],
      ["unknown", "prometheus_build_info 1\n"],
      ["unknown", ""]
    ] as const
  )("is a %s, by its metrics", ([owner, text]) =>
    Effect.gen(function*() {
      const port = yield* neighbour((response) => response.end(text))
      assert.strictEqual(yield* portOwner("0.0.0.0", port), owner)
    }).pipe(Effect.scoped))

  it.live("is told as soon as the name has come, also by one who never ends", () =>
    Effect.gen(function*() {
      const port = yield* neighbour((response) => {
        response.write("worker_inflight_")
        setImmediate(() => response.write("requests 0\n"))
      })
      assert.strictEqual(yield* portOwner("127.0.0.1", port), "cy-llm worker")
    }).pipe(Effect.scoped))

  it.live("is unknown when it says nothing", () =>
    Effect.gen(function*() {
      const port = yield* neighbour(() => undefined)
      assert.strictEqual(yield* portOwner("127.0.0.1", port), "unknown")
    }).pipe(Effect.scoped))

  it.live("is unknown when it talks without end, of which little is read", () =>
    Effect.gen(function*() {
      let sent = 0
      const port = yield* neighbour((response) => {
        const part = "x".repeat(65_536)
        const pour = () => {
          while (!response.destroyed) {
            sent += part.length
            if (!response.write(part)) return void response.once("drain", pour)
          }
        }
        pour()
      })
      assert.strictEqual(yield* portOwner("127.0.0.1", port), "unknown")
      assert.isBelow(sent, 16_000_000)
    }).pipe(Effect.scoped))

  it.live("is unknown when nobody answers", () =>
    Effect.gen(function*() {
      const port = yield* Effect.scoped(neighbour(() => undefined))
      assert.strictEqual(yield* portOwner("127.0.0.1", port), "unknown")
    }))
})
