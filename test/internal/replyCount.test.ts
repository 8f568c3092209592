import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { ReplyCount } from "../../src/internal/stream/replyCount.ts"
import { anonymous } from "../../src/internal/stream/requestIdentity.ts"
import { Tally } from "../../src/internal/usage/tally.ts"
import { concat, frame } from "../../src/internal/wire/frames.ts"
import * as NoMetrics from "../../src/layers/NoMetrics.ts"
import { StreamMetrics } from "../../src/services/StreamMetrics.ts"
import { tokensOf, tokenSourceOf } from "../../src/services/UsageMeter.ts"

/** A StreamPredictResponse with a chunk of so many bytes. */
const chunk = (bytes: number): Uint8Array => {
  const length = bytes < 128 ? [bytes] : [(bytes & 0x7f) | 0x80, bytes >> 7]
  return frame(Uint8Array.of(0x12, ...length, ...Array.from({ length: bytes }, () => 0x61)))
}

const counting = Effect.map(StreamMetrics, (metrics) => {
  const tally = new Tally(1, "one", 0)
  return { tally, count: new ReplyCount(tally, metrics, { noticePrefixes: [] }, 0) }
})

describe("what a worker says about its own tokens", () => {
  it.effect.each(
    [
      ["0", 0],
      ["0042", 42],
      ["1000000000", 1_000_000_000]
    ] as const
  )("believes %s", ([word, tokens]) =>
    Effect.gen(function*() {
      const { count, tally } = yield* counting
      count.takeTrailers({ "cy-completion-tokens": word, "cy-prompt-tokens": word })
      assert.deepStrictEqual([tokensOf(tally), tokenSourceOf(tally), tally.promptTokens], [tokens, "worker", tokens])
      assert.deepStrictEqual([tally.doubtedTokens, tally.doubtedPrompt], [undefined, undefined])
    }).pipe(Effect.provide(NoMetrics.layer)))

  it.effect.each(
    ["1000000001", "999999999999999", "9".repeat(400), "-1", "1.5", "1e3", "NaN", "", " 7", "0x10", "٣"]
  )("does not believe %j", (word) =>
    Effect.gen(function*() {
      const { count, tally } = yield* counting
      count.add(chunk(2), 1)
      count.takeTrailers({ "cy-completion-tokens": word, "cy-prompt-tokens": [word, "5"] })
      assert.deepStrictEqual([tokensOf(tally), tokenSourceOf(tally), tally.promptTokens], [1, "chunk", undefined])
      assert.deepStrictEqual([tally.doubtedTokens, tally.doubtedPrompt], [word, word])
    }).pipe(Effect.provide(NoMetrics.layer)))

  it.effect("doubts nothing when it says nothing", () =>
    Effect.gen(function*() {
      const { count, tally } = yield* counting
      count.takeTrailers({})
      assert.deepStrictEqual([tally.doubtedTokens, tally.doubtedPrompt], [undefined, undefined])
    }).pipe(Effect.provide(NoMetrics.layer)))
})

describe("a chunk with more text than a token has", () => {
  it.effect("is one chunk all the same, and is seen", () =>
    Effect.gen(function*() {
      const { count, tally } = yield* counting
      count.add(concat([chunk(1), chunk(256), chunk(257), chunk(5000)]), 1)
      assert.deepStrictEqual([tally.chunks, tally.largeChunks], [4, 2])
    }).pipe(Effect.provide(NoMetrics.layer)))
})

describe("the trace of a first token", () => {
  it.effect.each(
    [
      ["the one it is exported in", "exported", "requested", "exported"],
      ["the one that the request names", undefined, "requested", "requested"],
      ["none", undefined, "", ""]
    ] as const
  )("is %s", ([, exported, requested, expected]) =>
    Effect.gen(function*() {
      const traces: Array<string | undefined> = []
      const metrics = {
        ...yield* StreamMetrics,
        firstToken: (_: number, traceId?: string) => void traces.push(traceId)
      }
      const tally = new Tally(1, "one", 0)
      tally.identity = { ...anonymous, traceId: requested }
      const count = new ReplyCount(tally, metrics, { noticePrefixes: [] }, 0, exported)
      count.add(chunk(3), 5)
      count.add(chunk(3), 6)
      assert.deepStrictEqual(traces, [expected])
    }).pipe(Effect.provide(NoMetrics.layer)))
})
