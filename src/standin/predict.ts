import * as grpc from "@grpc/grpc-js"
import { Effect, PubSub, Schema } from "effect"
import { type PredictChunk, PredictRequest } from "../internal/client/aiProto.ts"
import { monotonicNow } from "../internal/monotonic.ts"
import { answerTo, loadingNotices } from "./answer.ts"
import { Refusal } from "./refusal.ts"
import type { StandInState } from "./state.ts"

export type PredictCall = grpc.ServerDuplexStream<object, object>

const MAX_PROMPT_CHARS = 50_000
const DEFAULT_TOKENS_PER_SECOND = 40
const DEFAULT_NOTICE_MILLIS = 200

/** The first request message; later ones are read and ignored. */
const firstRequest = (call: PredictCall): Effect.Effect<PredictRequest, Refusal> =>
  Effect.callback<unknown, Refusal>((resume) => {
    call.once("data", (message: unknown) => resume(Effect.succeed(message)))
    call.on("data", () => {})
    call.once("end", () =>
      resume(Effect.fail(
        new Refusal({ code: grpc.status.INVALID_ARGUMENT, details: "Empty request stream" })
      )))
  }).pipe(
    Effect.flatMap(Schema.decodeUnknownEffect(PredictRequest)),
    Effect.catchTag(
      "SchemaError",
      (error) => Effect.fail(new Refusal({ code: grpc.status.INVALID_ARGUMENT, details: error.message }))
    )
  )

const longerThan = (text: string, limit: number): boolean => {
  if (text.length <= limit) return false
  let characters = 0
  for (const _ of text) if (++characters > limit) return true
  return false
}

const check = (request: PredictRequest, models: ReadonlyArray<string> | undefined): Effect.Effect<void, Refusal> => {
  if (longerThan(request.prompt, MAX_PROMPT_CHARS)) {
    return Effect.fail(
      new Refusal({
        code: grpc.status.INVALID_ARGUMENT,
        details: `Prompt is longer than ${MAX_PROMPT_CHARS} characters`
      })
    )
  }
  if (models !== undefined && !models.includes(request.model_id)) {
    return Effect.fail(new Refusal({ code: grpc.status.NOT_FOUND, details: `Model not found: ${request.model_id}` }))
  }
  return Effect.void
}

/** Writes one message and waits while the caller's window is full. A call that is gone swallows what is written. */
const write = (call: PredictCall, message: PredictChunk): Effect.Effect<void> =>
  Effect.suspend(() => {
    if (call.cancelled || call.write(message)) return Effect.void
    return Effect.callback<void>((resume) => {
      const events = ["drain", "cancelled", "close"]
      const done = () => {
        for (const event of events) call.off(event, done)
        resume(Effect.void)
      }
      for (const event of events) call.on(event, done)
      if (call.cancelled) done()
    })
  })

const sleepUntil = (millis: number): Effect.Effect<void> =>
  Effect.flatMap(monotonicNow, (now) => millis > now ? Effect.sleep(millis - now) : Effect.void)

const generate = (state: StandInState, call: PredictCall, request: PredictRequest, written: { tokens: number }) =>
  Effect.gen(function*() {
    const { options } = state
    const arrivedAt = yield* monotonicNow
    const traceId = request.metadata?.trace_id ?? ""
    let index = 0
    const send = (chunk: string, end?: Pick<PredictChunk, "ttft_ms" | "tokens_per_sec">) =>
      write(call, {
        trace_id: traceId,
        chunk,
        end_of_stream: end !== undefined,
        index: index++,
        ttft_ms: end?.ttft_ms ?? 0,
        tokens_per_sec: end?.tokens_per_sec ?? 0
      })

    for (const notice of loadingNotices(options.loadingNotices ?? 0)) {
      yield* send(notice)
      yield* Effect.sleep(options.noticeMillis ?? DEFAULT_NOTICE_MILLIS)
    }
    yield* state.awaitReady

    const wanted = request.generation?.max_new_tokens ?? 0
    const tokens = answerTo(request.prompt, request.model_id, options.tokens)
      .slice(0, wanted === 0 ? undefined : wanted)
    const rate = options.tokensPerSecond ?? DEFAULT_TOKENS_PER_SECOND
    const beganAt = yield* monotonicNow
    let firstAt = beganAt
    for (const [at, token] of tokens.entries()) {
      if (rate > 0) yield* sleepUntil(beganAt + (at + 1) * 1000 / rate)
      if (at === 0) firstAt = yield* monotonicNow
      yield* send(token)
      written.tokens++
    }
    const seconds = Math.max(0.001, ((yield* monotonicNow) - beganAt) / 1000)
    yield* send("", { ttft_ms: firstAt - arrivedAt, tokens_per_sec: tokens.length / seconds })
    return tokens.length
  })

const trailers = (state: StandInState, request: PredictRequest, tokens: number): grpc.Metadata | undefined => {
  if (state.options.usageTrailers !== true) return undefined
  const metadata = new grpc.Metadata()
  metadata.set("cy-completion-tokens", String(tokens))
  metadata.set("cy-prompt-tokens", String(answerTo(request.prompt, request.model_id, undefined).length))
  return metadata
}

const textMetadata = (call: PredictCall): Record<string, string> =>
  Object.fromEntries(Object.entries(call.metadata.getMap()).map(([key, value]) => [key, value.toString()]))

/** One StreamPredict call, from its first request to its end. Interrupted when the caller leaves. */
export const predict = (state: StandInState, call: PredictCall): Effect.Effect<void> => {
  const written = { tokens: 0 }
  const ended = (outcome: "completed" | "cancelled" | "failed", detail = "") =>
    PubSub.publish(state.events, { _tag: "StreamEnded", outcome, tokens: written.tokens, detail })

  const answer = Effect.gen(function*() {
    const request = yield* firstRequest(call)
    yield* PubSub.publish(state.events, { _tag: "StreamStarted", request, metadata: textMetadata(call) })
    yield* check(request, state.options.models)
    state.loaded.add(request.model_id)
    const tokens = yield* generate(state, call, request, written)
    if (call.cancelled) return yield* Effect.asVoid(ended("cancelled"))
    call.end(trailers(state, request, tokens))
    state.figures.success++
    yield* ended("completed")
  })

  return answer.pipe(
    Effect.catchTag("Refusal", (refusal) => {
      state.figures.failed++
      call.emit("error", { code: refusal.code, details: refusal.details })
      return Effect.asVoid(ended("failed", refusal.details))
    }),
    Effect.onInterrupt(() => ended("cancelled")),
    (running) => {
      const counted = Effect.acquireUseRelease(
        Effect.sync(() => state.figures.inflight++),
        () => running,
        () => Effect.sync(() => state.figures.inflight--)
      )
      return state.withPlace(counted)
    }
  )
}
