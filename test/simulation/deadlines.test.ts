import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { InferenceProxy, Metrics, Status } from "../../src/index.ts"
import { Answer, ScriptedGateway, ScriptedWorker } from "../../src/testing.ts"
import { figure, gateway, pass, records, spans, story, worker } from "./story.ts"

const { Code } = Status

/** One event, one outcome: in the counters, in the record, in the span and in the count of codes. */
const assertBooked = (outcome: "deadline" | "cancelled" | "completed" | "failed", code: number) =>
  Effect.gen(function*() {
    assert.deepInclude((yield* records).at(-1), { outcome, grpc_status: code })
    assert.deepStrictEqual((yield* spans).map(({ grpcStatus, outcome }) => ({ outcome, grpcStatus })), [
      { outcome, grpcStatus: code }
    ])
    assert.strictEqual(yield* figure("sidecar_requests_total"), 1)
    const counter = outcome === "completed" ? "success" : outcome === "cancelled" ? "cancelled" : "failed"
    for (const one of ["success", "failed", "cancelled"]) {
      assert.strictEqual(yield* figure(`sidecar_requests_${one}_total`), one === counter ? 1 : 0, one)
    }
    const { body } = yield* Effect.flatMap(Metrics, (metrics) => metrics.scrape)
    assert.include(body, `sidecar_stream_outcomes_total{outcome="${outcome}"} 1`)
    const name = Status.codeName(code)
    assert.include(body, `method="cy.llm.AiInference/StreamPredict",code="${name}"} 1`)
    const cancels = outcome === "cancelled" ? 1 : 0
    assert.include(body, `sidecar_cancel_propagation_seconds_count ${cancels}`)
  })

const slow = Answer.tokens({ tokens: 100, every: 50 })

describe("A stream whose time is over", () => {
  for (const early of [0, 3, 99]) {
    story(
      `is a missed deadline when its gateway's RST comes ${early} ms before our own clock's word`,
      { worker: { answer: slow } },
      Effect.gen(function*() {
        yield* gateway({ timeoutMillis: 300, cancelAfter: 300 - early })
        yield* pass("1 second")
        yield* assertBooked("deadline", Code.DEADLINE_EXCEEDED)
      })
    )
  }

  story(
    "is a missed deadline when its gateway leaves with its connection at that moment",
    { worker: { answer: slow } },
    Effect.gen(function*() {
      yield* gateway({ timeoutMillis: 300, vanishAfter: 298 })
      yield* pass("1 second")
      yield* assertBooked("deadline", Code.DEADLINE_EXCEEDED)
    })
  )

  for (const code of ["DEADLINE_EXCEEDED", "CANCELLED"] as const) {
    story(
      `is a missed deadline when the worker says ${code} first`,
      {
        worker: {
          answer: Answer.tokens({
            tokens: 2,
            every: 290,
            endOfStream: false,
            status: { code: Code[code], message: "" }
          })
        }
      },
      Effect.gen(function*() {
        const call = yield* gateway({ timeoutMillis: 300 })
        yield* pass("1 second")
        assert.strictEqual(call.seen.status?.metadata["cy-reason"], "deadline")
        assert.strictEqual(call.seen.status?.metadata["cy-chunks-delivered"], "2")
        yield* assertBooked("deadline", Code.DEADLINE_EXCEEDED)
      })
    )
  }

  story(
    "is a missed deadline, and is not sent again, when the worker's library resets it",
    { worker: { answer: Answer.silence } },
    Effect.gen(function*() {
      const call = yield* gateway({ timeoutMillis: 300 })
      yield* pass(290)
      yield* worker("reset streams")
      yield* pass("1 second")
      assert.strictEqual(call.seen.status?.metadata["cy-reason"], "deadline")
      assert.strictEqual(yield* figure("sidecar_streams_replayed_total"), 0)
      yield* assertBooked("deadline", Code.DEADLINE_EXCEEDED)
    })
  )

  story(
    "is a missed deadline while it is held, too",
    {},
    Effect.gen(function*() {
      yield* worker("reload for 20s")
      yield* pass("6 seconds")
      yield* gateway({ timeoutMillis: 300, cancelAfter: 297 })
      yield* pass("1 second")
      yield* assertBooked("deadline", Code.DEADLINE_EXCEEDED)
    })
  )

  story(
    "is a missed deadline while it is queued, too",
    { worker: { answer: Answer.silence }, config: { server: { max_worker_streams: 1 } } },
    Effect.gen(function*() {
      yield* gateway()
      yield* gateway({ timeoutMillis: 300, cancelAfter: 297 })
      yield* pass("1 second")
      assert.deepInclude((yield* records)[0], { outcome: "deadline", grpc_status: 4 })
      assert.strictEqual(yield* figure("sidecar_requests_cancelled_total"), 0)
    })
  )

  story(
    "is complete when it had the end_of_stream frame, whoever ends it",
    { worker: { answer: (side) => Effect.andThen(Answer.tokens()(side), Effect.never) } },
    Effect.gen(function*() {
      yield* gateway({ timeoutMillis: 300, cancelAfter: 299 })
      yield* pass("1 second")
      yield* assertBooked("completed", Code.OK)
    })
  )

  story(
    "is complete when it had the end_of_stream frame and the worker then says DEADLINE_EXCEEDED",
    {
      worker: {
        answer: (side) =>
          Answer.tokens()(side).pipe(
            Effect.andThen(Effect.sleep(200)),
            Effect.as(Status.make(Code.DEADLINE_EXCEEDED, ""))
          )
      }
    },
    Effect.gen(function*() {
      yield* gateway({ timeoutMillis: 300 })
      yield* pass("1 second")
      yield* assertBooked("completed", Code.OK)
    })
  )
})

describe("A stream whose time is not over", () => {
  for (const [timeoutMillis, cancelAfter] of [[300, 100], [300, 198], [60, 30], [600_000, 599_000]] as const) {
    story(
      `and of ${timeoutMillis} ms is cancelled when its gateway cancels after ${cancelAfter} ms`,
      { worker: { answer: Answer.tokens({ tokens: 100_000, every: 1000 }) } },
      Effect.gen(function*() {
        yield* gateway({ timeoutMillis, cancelAfter })
        yield* pass(timeoutMillis + 1000)
        yield* assertBooked("cancelled", Code.CANCELLED)
      })
    )
  }

  story(
    "fails when the worker gives up for reasons of its own",
    { worker: { answer: Answer.status(Code.DEADLINE_EXCEEDED, "my own limit") } },
    Effect.gen(function*() {
      const call = yield* gateway({ timeoutMillis: 30_000 })
      yield* pass("1 second")
      assert.strictEqual(call.seen.status?.message, "my own limit")
      assert.isUndefined(call.seen.status?.metadata["cy-reason"])
      yield* assertBooked("failed", Code.DEADLINE_EXCEEDED)
    })
  )
})

describe("A call that is only carried", () => {
  const path = "/cy.llm.AiTraining/StartTraining"
  const carried = (options: ScriptedGateway.GatewayOptions) =>
    Effect.flatMap(InferenceProxy, (proxy) => ScriptedGateway.openOn(proxy.passthrough, { ...options, path }))

  const handled = Effect.gen(function*() {
    const { body } = yield* Effect.flatMap(Metrics, (metrics) => metrics.scrape)
    return [...body.matchAll(/sidecar_grpc_handled_total\{method="[^"]*",code="([^"]*)"\} 1/g)].map(([, code]) => code)
  })

  for (
    const [cancelAfter, code] of [[100, "CANCELLED"], [297, "DEADLINE_EXCEEDED"], [400, "DEADLINE_EXCEEDED"]] as const
  ) {
    story(
      `ends with ${code} when its gateway has 300 ms and leaves after ${cancelAfter} ms`,
      {},
      Effect.gen(function*() {
        const scripted = yield* ScriptedWorker.ScriptedWorker
        yield* scripted.answerAt(path, Answer.silence)
        yield* carried({ timeoutMillis: 300, cancelAfter })
        yield* pass("1 second")
        assert.deepStrictEqual(yield* handled, [code])
      })
    )
  }

  story(
    "ends with DEADLINE_EXCEEDED when the worker's library resets it at its deadline",
    {},
    Effect.gen(function*() {
      const scripted = yield* ScriptedWorker.ScriptedWorker
      yield* scripted.answerAt(path, () => Effect.as(Effect.sleep(295), Status.make(Code.CANCELLED, "")))
      const call = yield* carried({ timeoutMillis: 300 })
      yield* pass("1 second")
      assert.strictEqual(call.seen.status?.metadata["cy-reason"], "deadline")
      assert.deepStrictEqual(yield* handled, ["DEADLINE_EXCEEDED"])
    })
  )
})
