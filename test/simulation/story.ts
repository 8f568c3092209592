import { assert, it } from "@effect/vitest"
import { type Duration, Effect, Random, Result, type Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Metrics,
  Status,
  StreamTracer,
  type StreamTracing,
  type UsageEnd,
  UsageJournal,
  type UsageRecord,
  WorkerConnection
} from "../../src/index.ts"
import { Answer, Recorder, ScriptedGateway, ScriptedWorker, Simulation, Timeline } from "../../src/testing.ts"

/**
 * The words in which outage stories are told. A story has a sidecar (the real one, without its wire), a scripted worker,
 * scripted gateways and virtual time; chance is seeded, so it ends the same way each time.
 */

/** In a turn after that of the change, so that nothing which the story does comes in between. */
const connected = Effect.andThen(Simulation.connected, Effect.yieldNow)

/** Keeps how the spans of streams ended. */
class SpanRecorder implements StreamTracing {
  readonly ends: Array<UsageEnd> = []

  start() {
    return {
      traceparent: undefined,
      root: false,
      traceId: undefined,
      event: () => undefined,
      end: (_tally: unknown, end: UsageEnd) => void this.ends.push(end)
    }
  }
}

/** How the spans of the story's streams ended, in that order. */
export const spans = Effect.map(
  StreamTracer,
  (tracer): ReadonlyArray<UsageEnd> => tracer instanceof SpanRecorder ? tracer.ends : []
)

/** One story: `given` is the worker and the settings, `tell` begins when the sidecar is connected. */
export const story = (
  name: string,
  given: Simulation.Options & { readonly begins?: "connected" | "at once" },
  tell: Effect.Effect<void, never, Simulation.World | Scope.Scope>
): void =>
  it.effect(name, () =>
    (given.begins === "at once" ? tell : Effect.andThen(connected, tell)).pipe(
      Effect.scoped,
      Effect.provide(Simulation.layer(given)),
      Effect.provideServiceEffect(StreamTracer, Effect.sync(() => new SpanRecorder())),
      Random.withSeed(name)
    ))

/** Virtual time passes. */
export const pass = (time: Duration.Input) => TestClock.adjust(time)

/** Does something to the worker, in the words of a timeline: `die`, `reload for 30s`, `come back`. */
export const worker = (words: string) =>
  Effect.flatMap(ScriptedWorker.ScriptedWorker, (scripted) =>
    Effect.forEach(
      Result.getOrThrow(Timeline.parse(`at 0s: ${words}`)),
      ({ action }) => scripted.perform(action),
      { discard: true }
    ))

/** How the worker answers from now on. */
export const answers = (answer: Answer.Answer) =>
  Effect.flatMap(ScriptedWorker.ScriptedWorker, (scripted) => scripted.answer(answer))

/** The StreamPredict calls that reached the worker. */
export const arrived = Effect.map(ScriptedWorker.ScriptedWorker, (scripted) => scripted.streams())

/** Virtual milliseconds at which the sidecar tried to dial, and what became of it. */
export const dials = Effect.map(
  Recorder.Recorder,
  (recorder) => recorder.events().filter(({ what }) => what === "dial failed" || what === "link open")
)

export const gateway = ScriptedGateway.open
export const gateways = ScriptedGateway.openMany

/** What the sidecar thinks of the worker now. */
export const status = Effect.map(WorkerConnection, (connection) => connection.current())

export const assertStatus = (tag: "Connecting" | "Connected" | "Reloading" | "Disconnected", reason?: string) =>
  Effect.map(status, (state) => {
    assert.strictEqual(state._tag, tag)
    if (reason !== undefined) assert.strictEqual(state._tag === "Disconnected" ? state.reason : undefined, reason)
  })

/** Every change of the worker's status from now on, with its reason. */
export const statusHistory = Effect.gen(function*() {
  const connection = yield* WorkerConnection
  const history: Array<string> = []
  yield* Effect.acquireRelease(
    Effect.sync(() =>
      connection.onChange((state) => {
        const word = state._tag === "Disconnected" ? `Disconnected ${state.reason}` : state._tag
        if (history.at(-1) !== word) history.push(word)
      })
    ),
    (unsubscribe) => Effect.sync(unsubscribe)
  )
  return history as ReadonlyArray<string>
})

/** One figure of the metrics, summed over its labels. */
export const figure = (name: string) => Effect.flatMap(Metrics, (all) => Effect.map(all.figures, (one) => one[name]))

/** The usage records so far, in the order in which the streams ended (at most 500). */
export const records: Effect.Effect<ReadonlyArray<UsageRecord>, never, UsageJournal> = Effect.flatMap(
  UsageJournal,
  (journal) => Effect.map(Effect.orDie(journal.nextBatch(500)), (batch) => batch?.records ?? [])
)

/** The gateway has the whole answer. */
export const assertAnswered = (call: ScriptedGateway.GatewayCall, tokens: number = 5): void => {
  assert.strictEqual(call.seen.status?.code, Status.Code.OK, call.seen.status?.message)
  assert.deepStrictEqual(call.seen.tokens, Answer.tokenTexts(tokens))
  assert.isTrue(call.seen.replies.at(-1)?.endOfStream)
  assertGapless(call)
}

/** `index` counts the messages that this gateway got, from 0. */
export const assertGapless = (call: ScriptedGateway.GatewayCall): void =>
  assert.deepStrictEqual(call.seen.replies.map(({ index }) => index), call.seen.replies.map((_, n) => n))

/** The gateway was told `reason`; `retry`: and when to come back. */
export const assertEnded = (
  call: ScriptedGateway.GatewayCall,
  code: keyof typeof Status.Code,
  reason: string,
  retry?: "with a retry hint" | "without a retry hint"
): void => {
  const { status } = call.seen
  assert.strictEqual(status?.metadata["cy-reason"], reason, `${status?.code} ${status?.message}`)
  assert.strictEqual(status?.code, Status.Code[code])
  assert.isAtMost(status?.message.length ?? 0, 512)
  if (retry === undefined) return
  const hint = status?.metadata["grpc-retry-pushback-ms"]
  if (retry === "without a retry hint") assert.isUndefined(hint)
  else {
    assert.isAtLeast(Number(hint), 1)
    assert.isString(status?.metadata["grpc-status-details-bin"])
  }
}

/** Nothing was sent before the status: a client library may act on its retry hint. */
export const assertTrailersOnly = (call: ScriptedGateway.GatewayCall): void => assert.isUndefined(call.seen.headers)
