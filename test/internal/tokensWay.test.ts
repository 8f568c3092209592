import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { HeaderBlock } from "../../src/http2/headerBlock.ts"
import { Http2Stream, type StreamHost } from "../../src/http2/stream.ts"
import { Http2ServerCall } from "../../src/internal/http2/http2ServerCall.ts"
import { Http2WorkerCall } from "../../src/internal/http2/http2WorkerCall.ts"
import { deliver } from "../../src/internal/stream/deliver.ts"
import { openPulled } from "../../src/internal/wire/pulledCall.ts"
import { MessageBudget } from "../../src/services/MessageBudget.ts"
import { begin, makeBench, OutspokenLink } from "../support/streamBench.ts"

const streamOf = (role: StreamHost["role"]): Http2Stream =>
  new Http2Stream(
    { role, now: 0, submit: () => {}, sendNow: () => true, abandon: () => {}, reopen: () => {} },
    1,
    65_535,
    65_535
  )

// Only the time of a token with thousands of streams would tell that the way has a gap.
describe("the way of a token", () => {
  it.effect("can be looked along from the worker's stream to the gateway's call, as long as the stream is open", () =>
    Effect.gen(function*() {
      const fromWorker = streamOf("client")
      const budget = yield* MessageBudget
      const bench = yield* makeBench()
      const workerCall = new Http2WorkerCall({
        maxMessageBytes: 1000,
        budget,
        open: (_, handler) => {
          fromWorker.handler = handler
          return fromWorker
        },
        cancel: () => {},
        heard: () => {},
        closed: () => {}
      })
      bench.link = Object.assign(new OutspokenLink(), {
        open: (start: Parameters<OutspokenLink["open"]>[0]) => openPulled(() => workerCall, (call) => call.open(start))
      })
      const { call, fiber, stream } = yield* begin(bench, (stream) => deliver(stream, undefined))
      assert.strictEqual(fromWorker.ahead, workerCall)
      assert.strictEqual(workerCall.ahead, stream.delivery)
      assert.strictEqual(stream.delivery.ahead, call)
      stream.tally.ended = true
      assert.isUndefined(stream.delivery.ahead)
      yield* Fiber.interrupt(fiber)
      assert.isUndefined(workerCall.ahead)
      fromWorker.closed = true
      assert.isUndefined(fromWorker.ahead)
    }).pipe(Effect.scoped))

  it.effect("goes on from the gateway's call to its stream", () =>
    Effect.gen(function*() {
      const toGateway = streamOf("server")
      const head = {
        block: new HeaderBlock(),
        timeoutMillis: undefined,
        arrivedAt: 0,
        encoding: undefined,
        peer: { address: "127.0.0.1:1", trusted: false }
      }
      const call = new Http2ServerCall(toGateway, head, { maxMessageBytes: 1000, budget: yield* MessageBudget })
      assert.strictEqual(call.ahead, toGateway)
    }))
})
