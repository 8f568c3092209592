import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Random, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { LlmClient, Status, StreamHook, StreamRefusal } from "../../src/index.ts"
import { Answer, Messages, ScriptedGateway, Simulation } from "../../src/testing.ts"
import { arrived, assertGapless, pass, records } from "./story.ts"

const connected = Effect.andThen(Simulation.connected, Effect.yieldNow)

type Hook = StreamHook.Hook

/** A story with hooks; `log` has the lines of errors. */
const story = (
  name: string,
  given: Simulation.Options & { readonly hooks: ReadonlyArray<Hook> },
  tell: (log: ReadonlyArray<string>) => Effect.Effect<void, never, Simulation.World | Scope.Scope>
) =>
  it.effect(name, () => {
    const log: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      if (logLevel === "Error") log.push(String(Array.isArray(message) ? message[0] : message))
    })
    return Effect.andThen(connected, tell(log)).pipe(
      Effect.scoped,
      Effect.provide(
        Simulation.layer(given).pipe(
          Layer.provide(StreamHook.layer(...given.hooks)),
          Layer.provideMerge(Logger.layer([logger]))
        )
      ),
      Random.withSeed(name)
    )
  })

/** A stream ends where the word would come. */
const stopAt = (word: string): Hook => ({
  name: "stop word",
  replies: (tokens) => tokens.pipe(Stream.takeWhile((token) => token !== word))
})

const fates = Effect.map(arrived, (calls) => calls.map(({ end }) => end?.fate))
const booked = Effect.map(records, (all) => all.map(({ chunks, outcome }) => [outcome, chunks]))

for (const batch of [1, 10]) {
  story(
    `a stop word ends a gateway's stream as completed with what was delivered, ${batch} tokens at a time`,
    { hooks: [stopAt("t3 ")], worker: { answer: Answer.tokens({ tokens: 50, batch, notices: ["[模型加载] wait"] }) } },
    () =>
      Effect.gen(function*() {
        const call = yield* ScriptedGateway.open()
        yield* pass("10 seconds")
        assert.deepStrictEqual(call.seen.tokens, Array.from(Answer.tokenTexts(3)))
        assert.deepStrictEqual([call.seen.status?.code, call.seen.status?.metadata["cy-reason"]], [0, "stopped"])
        assert.isTrue(call.seen.replies.at(-1)?.endOfStream)
        assertGapless(call)
        assert.deepStrictEqual(yield* booked, [["completed", 3]])
        assert.deepStrictEqual(yield* fates, ["cancelled"])
      })
  )
}

story(
  "what a hook leaves as it is passes byte for byte",
  { hooks: [{ name: "none", replies: (tokens) => tokens }], worker: { answer: Answer.tokens({ tokens: 5 }) } },
  () =>
    Effect.gen(function*() {
      const call = yield* ScriptedGateway.open({ request: { modelId: "q", prompt: "x", traceId: "t-1" } })
      yield* pass("10 seconds")
      const reply = (chunk: string, index: number, endOfStream = false) =>
        Messages.encodeReply({ traceId: "t-1", chunk, index, endOfStream })
      assert.deepStrictEqual(call.seen.messages, [
        ...Answer.tokenTexts(5).map((token, n) => reply(token, n)),
        reply("", 5, true)
      ])
      assert.deepStrictEqual([call.seen.status?.code, call.seen.status?.metadata["cy-reason"]], [0, undefined])
      assert.deepStrictEqual(yield* booked, [["completed", 5]])
    })
)

story(
  "hooks change, drop and add text, in their order; what comes out is counted",
  {
    hooks: [
      { name: "drop", replies: (tokens) => tokens.pipe(Stream.filter((token) => token !== "t1 ")) },
      { name: "shout", replies: (tokens) => tokens.pipe(Stream.flatMap((token) => Stream.make(token, "!"))) }
    ],
    worker: { answer: Answer.tokens({ tokens: 3 }) }
  },
  () =>
    Effect.gen(function*() {
      const call = yield* ScriptedGateway.open()
      yield* pass("10 seconds")
      assert.deepStrictEqual(call.seen.tokens, ["t0 ", "!", "t2 ", "!"])
      assertGapless(call)
      assert.deepStrictEqual(yield* booked, [["completed", 4]])
    })
)

const perTenant = (limit: number): Hook => {
  const asked = new Map<string, number>()
  return {
    name: "rate limit",
    admit: ({ tenant = "" }) => {
      const before = asked.get(tenant) ?? 0
      asked.set(tenant, before + 1)
      return before < limit
        ? Effect.void
        : Effect.fail(new StreamRefusal({ reason: "tenant_limit", message: "slower", retryAfterMillis: 700 }))
    }
  }
}

story(
  "a stream that a hook does not admit has no record and never reaches the worker",
  { hooks: [perTenant(1)] },
  () =>
    Effect.gen(function*() {
      const calls = yield* Effect.forEach(
        ["acme", "acme", "zenith"],
        (tenant) => ScriptedGateway.open({ request: { modelId: "q", prompt: "x", tenant }, halfClose: "at the end" })
      )
      yield* pass("10 seconds")
      assert.deepStrictEqual(
        calls.map(({ seen: { status } }) => [
          status?.code,
          status?.metadata["cy-reason"],
          status?.metadata["grpc-retry-pushback-ms"]
        ]),
        [[0, undefined, undefined], [Status.Code.RESOURCE_EXHAUSTED, "tenant_limit", "700"], [0, undefined, undefined]]
      )
      assert.strictEqual((yield* records).length, 2)
      assert.strictEqual((yield* arrived).length, 2)
      const own = yield* Effect.flip(Stream.runDrain(LlmClient.tokens({ model: "q", prompt: "x", tenant: "acme" })))
      assert.deepStrictEqual([own.reason, own.retryAfterMillis], ["tenant_limit", 700])
    }).pipe(Effect.orDie)
)

story(
  "a hook that throws, dies or fails is its stream's failure, told once with its name",
  {
    hooks: [{
      name: "bad",
      admit: ({ model }) => {
        if (model === "throw") throw new Error("in admit")
        return Effect.void
      },
      replies: (tokens, { model }) =>
        model === "die"
          ? tokens.pipe(Stream.mapEffect((token) => token === "t2 " ? Effect.die("in replies") : Effect.succeed(token)))
          : model === "fail"
          ? Stream.fail("no")
          : tokens
    }],
    worker: { answer: Answer.tokens({ tokens: 5 }) }
  },
  (log) =>
    Effect.gen(function*() {
      const models = ["throw", "die", "fail", "die", "good"]
      const calls = yield* Effect.forEach(models, (modelId) =>
        ScriptedGateway.open({ request: { modelId, prompt: "x" } }))
      yield* pass("10 seconds")
      assert.deepStrictEqual(
        calls.map(({ seen: { status, tokens } }) => [status?.code, status?.metadata["cy-reason"], tokens.length]),
        [
          [Status.Code.UNKNOWN, "hook_failed", 0],
          [Status.Code.UNKNOWN, "hook_failed", 2],
          [Status.Code.UNKNOWN, "hook_failed", 0],
          [Status.Code.UNKNOWN, "hook_failed", 2],
          [0, undefined, 5]
        ]
      )
      assert.deepStrictEqual((yield* booked).toSorted(), [["completed", 5], ["failed", 0], ["failed", 2], [
        "failed",
        2
      ]])
      const told = log.filter((line) =>
        line.includes(`the stream hook "bad" failed`)
      )
      // Once for each part of it.
      assert.strictEqual(told.length, 2)
    })
)

story(
  "a hook that hangs holds up its own streams only",
  {
    hooks: [{
      name: "slow",
      admit: ({ model }) => model === "hang" ? Effect.never : Effect.void,
      replies: (tokens, { model }) => model === "stall" ? Stream.never : tokens
    }],
    worker: { answer: Answer.tokens({ tokens: 5 }) }
  },
  (log) =>
    Effect.gen(function*() {
      const open = (modelId: string) => ScriptedGateway.open({ request: { modelId, prompt: "x" } })
      const [hanging, stalled, good] = [yield* open("hang"), yield* open("stall"), yield* open("good")]
      yield* pass("1 second")
      assert.strictEqual(good.seen.status?.code, 0)
      yield* pass("2 minutes")
      assert.deepStrictEqual(
        [hanging, stalled].map(({ seen: { status } }) => status?.metadata["cy-reason"]),
        ["hook_failed", "hook_failed"]
      )
      assert.strictEqual(hanging.seen.status?.code, Status.Code.UNKNOWN)
      // Once for each part of it.
      assert.strictEqual(log.filter((line) => line.includes(`the stream hook "slow" failed`)).length, 2)
    })
)

for (
  const [what, replies] of [
    ["before it asks for a token", () => Stream.never],
    ["after it has taken two", (tokens) => Stream.concat(Stream.take(tokens, 2), Stream.never)],
    [
      "inside a token",
      (tokens) => Stream.mapEffect(tokens, (token) => token === "t3 " ? Effect.never : Effect.succeed(token))
    ],
    [
      "after it has given up a wait for the worker",
      (tokens) => Stream.concat(Stream.interruptWhen(tokens, Effect.sleep("1500 millis")), Stream.never)
    ],
    ["when the worker has said all", (tokens) => Stream.concat(tokens, Stream.never)]
  ] satisfies ReadonlyArray<[string, Hook["replies"]]>
) {
  story(
    `a hook hangs ${what}`,
    { hooks: [{ name: "slow", replies }], worker: { answer: Answer.tokens({ tokens: 5, every: "1 second" }) } },
    (log) =>
      Effect.gen(function*() {
        const call = yield* ScriptedGateway.open()
        yield* pass("29 seconds")
        assert.strictEqual(call.seen.status, undefined)
        yield* pass("10 seconds")
        assert.deepStrictEqual(
          [call.seen.status?.code, call.seen.status?.metadata["cy-reason"]],
          [Status.Code.UNKNOWN, "hook_failed"]
        )
        assert.deepStrictEqual(log, [
          "the stream hook \"slow\" failed in replies; its further failures there are not told"
        ])
        assert.deepStrictEqual(yield* booked, [["failed", call.seen.tokens.length]])
      })
  )
}

story(
  "a hook that waits for the worker does not hang",
  {
    hooks: [{ name: "patient", replies: (tokens) => tokens }],
    worker: { answer: Answer.tokens({ tokens: 3, every: "45 seconds" }) },
    config: { server: { stream_idle_timeout_secs: 300 } }
  },
  () =>
    Effect.gen(function*() {
      const call = yield* ScriptedGateway.open()
      yield* pass("5 minutes")
      assert.strictEqual(call.seen.status?.code, 0)
      assert.deepStrictEqual(yield* booked, [["completed", 3]])
    })
)

story(
  "the streams beside many that hooks hold up keep the worker's pace to the millisecond",
  {
    hooks: [{
      name: "holds up",
      admit: ({ model }) => model === "hang" ? Effect.never : Effect.void,
      replies: (tokens, { model }) => {
        if (model === "stall") return Stream.never
        return model === "slow" ? Stream.tap(tokens, () => Effect.sleep("700 millis")) : tokens
      }
    }],
    worker: { answer: Answer.tokens({ tokens: 50, every: "100 millis" }) },
    config: { server: { max_concurrent_streams: 1000, max_worker_streams: 1000 } }
  },
  () =>
    Effect.gen(function*() {
      const open = (modelId: string, count: number) =>
        Effect.forEach(Array.from({ length: count }), () => ScriptedGateway.open({ request: { modelId, prompt: "x" } }))
      const distances = ({ seen: { replies } }: ScriptedGateway.GatewayCall) =>
        replies.slice(1).map(({ at }, before) => at - (replies[before]?.at ?? 0))
      const held = [...yield* open("hang", 50), ...yield* open("stall", 50), ...yield* open("slow", 50)]
      const others = yield* open("good", 10)
      yield* pass("6 seconds")
      for (const call of others) {
        assert.strictEqual(call.seen.status?.code, 0)
        assert.strictEqual(call.seen.tokens.length, 50)
        assert.deepStrictEqual([...new Set(distances(call).slice(0, 49))], [100])
      }
      for (const call of held) assert.isUndefined(call.seen.status)
    })
)

story(
  "a gateway that leaves while a hook thinks, or in the middle, leaves nothing behind",
  {
    hooks: [{ name: "thinks", admit: () => Effect.sleep("2 seconds"), replies: (tokens) => tokens }],
    worker: { answer: Answer.tokens({ tokens: 100, every: "1 second" }) }
  },
  () =>
    Effect.gen(function*() {
      const early = yield* ScriptedGateway.open({ cancelAfter: "1 second" })
      const late = yield* ScriptedGateway.open({ cancelAfter: "4500 millis" })
      yield* pass("10 seconds")
      assert.deepStrictEqual([early.seen.left, late.seen.left], ["cancelled", "cancelled"])
      assert.isDefined(early.seen.handledAt)
      assert.deepStrictEqual(yield* booked, [["cancelled", late.seen.tokens.length]])
      assert.deepStrictEqual(yield* fates, ["cancelled"])
    })
)

story(
  "a slow gateway slows the worker through the hooks",
  {
    hooks: [{ name: "none", replies: (tokens) => tokens }],
    worker: { answer: Answer.tokens({ tokens: 20_000, batch: 100, every: 0 }) }
  },
  () =>
    Effect.gen(function*() {
      const call = yield* ScriptedGateway.open({ reader: { stallAfter: 10 }, windowBytes: 1000 })
      yield* pass("10 seconds")
      assert.isBelow((yield* arrived)[0]?.framesSent ?? 0, 20_000)
      yield* call.cancel
      yield* pass("1 second")
      assert.deepStrictEqual(yield* fates, ["cancelled"])
    })
)

story(
  "a stream that is sent again goes through the hooks anew",
  {
    hooks: [stopAt("t3 ")],
    worker: { answer: Answer.tokens({ tokens: 10, firstAfter: "5 seconds" }), timeline: "at 2s: die\nat 3s: come back" }
  },
  () =>
    Effect.gen(function*() {
      const call = yield* ScriptedGateway.open()
      yield* pass("1 minute")
      assert.strictEqual(call.seen.tokens.length, 3)
      assert.deepStrictEqual((yield* records).map(({ chunks, outcome, replays }) => [outcome, chunks, replays]), [
        ["completed", 3, 1]
      ])
    })
)

it.effect("ends are told after the record is committed; a hook that fails at it fails nobody", () => {
  const heard: Array<string> = []
  return Effect.gen(function*() {
    yield* connected
    const call = yield* ScriptedGateway.open()
    yield* TestClock.adjust("1 minute")
    assert.strictEqual(call.seen.status?.code, 0)
    assert.deepStrictEqual(heard, ["completed 5"])
  }).pipe(
    Effect.scoped,
    Effect.provide(
      Simulation.layer().pipe(Layer.provide(StreamHook.layer(
        { name: "bad", ended: () => Effect.die("no") },
        {
          name: "audit",
          ended: (record) => Effect.sync(() => void heard.push(`${record.outcome} ${record.tokens_generated}`))
        }
      )))
    )
  )
})
