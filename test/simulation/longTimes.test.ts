import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { Answer } from "../../src/testing.ts"
import { assertAnswered, assertStatus, gateway, pass, records, status, story, worker } from "./story.ts"

/** "Never" is often written as a year; a timer of Node's holds 24.8 days, and fires at once when it is given more. */
const LONG_SECS = { "a year": 365 * 24 * 3600, "one millisecond more than a timer holds": 2 ** 31 / 1000 }

/** Every key whose value is a time, with all the others at their defaults. */
const KEYS = [
  ["server", "queue_timeout_secs"],
  ["server", "first_token_timeout_secs"],
  ["server", "stream_idle_timeout_secs"],
  ["server", "drain_timeout_secs"],
  ["server", "slow_reader_timeout_secs"],
  ["server", "first_message_timeout_secs"],
  ["health", "check_interval_secs"],
  ["health", "check_timeout_secs"],
  ["health", "reconnect_delay_secs"],
  ["reload", "hold_timeout_secs"],
  ["reload", "hold_on_disconnect_secs"],
  ["reload", "max_reload_secs"],
  ["circuit_breaker", "open_secs"],
  ["metering", "batch_interval_secs"]
] as const

describe("Every time may be set to", () => {
  for (const [name, secs] of Object.entries(LONG_SECS)) {
    for (const [section, key] of KEYS) {
      story(
        `${name}: [${section}] ${key}`,
        { worker: { answer: Answer.tokens({ tokens: 5, firstAfter: 1000 }) }, config: { [section]: { [key]: secs } } },
        Effect.gen(function*() {
          const call = yield* gateway()
          yield* pass("1 minute")
          assertAnswered(call)
          yield* assertStatus("Connected")
          assert.deepInclude((yield* records)[0], { outcome: "completed" })
          yield* worker("vanish")
          yield* pass("1 second")
          assert.notStrictEqual((yield* status)._tag, "Connected")
          yield* worker("come back")
          yield* pass("30 seconds")
          yield* assertStatus("Connected")
          const again = yield* gateway()
          yield* pass("1 minute")
          assertAnswered(again)
        })
      )
    }
  }
})

describe("A gateway that has stopped to read when the worker has said all", () => {
  const burst = Answer.tokens({ tokens: 100, batch: 100 })

  story(
    "is a slow reader when it takes nothing more, and not served",
    { worker: { answer: burst } },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { stallAfter: 2 }, windowBytes: 200 })
      yield* pass("119 seconds")
      assert.isUndefined(call.seen.endedAt)
      yield* pass("2 seconds")
      assert.strictEqual(call.seen.status?.metadata["cy-reason"], "slow_reader")
      assert.deepInclude((yield* records)[0], { outcome: "slow_reader", grpc_status: 1 })
    })
  )

  story(
    "is served when it reads on",
    { worker: { answer: burst } },
    Effect.gen(function*() {
      const call = yield* gateway({ reader: { stallAfter: 2 }, windowBytes: 200 })
      yield* pass("100 seconds")
      assert.isUndefined(call.seen.endedAt)
      for (let n = 0; n < 3; n++) {
        yield* call.read(200)
        yield* pass("1 second")
      }
      assertAnswered(call, 100)
      assert.deepInclude((yield* records)[0], { outcome: "completed", tokens_generated: 100 })
    })
  )
})
