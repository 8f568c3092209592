import { type Duration, Effect, Stream } from "effect"
import * as Status from "../services/Status.ts"
import { type FrameBatch, type Metadata, noMetadata, type Status as GrpcStatus } from "../services/Wire.ts"
import { decodeRequest, encodeReply, framed, type PredictRequest } from "./Messages.ts"
import type { RecordedCall } from "./scriptedLink.ts"

/** A call as the script that answers it sees it. */
export interface WorkerSide {
  readonly call: RecordedCall
  /** The first request message; `undefined` when the stream was half-closed without one. */
  readonly request: Effect.Effect<Uint8Array | undefined>
  readonly headers: (metadata: Metadata) => Effect.Effect<void>
  /**
   * Sends whole frames. Waits while the sidecar reads nothing and the window is full, while the worker hangs, and for as
   * long as the worker has been told to answer slowly.
   */
  readonly send: (batch: FrameBatch) => Effect.Effect<void>
  /** Waits until no model is being loaded; meanwhile one notice each second, if the text is given. */
  readonly loaded: Effect.Effect<void>
  readonly isLoading: () => boolean
}

/**
 * How the worker answers a call: an Effect that sends frames and ends with the status. It is interrupted when the call is
 * cancelled or its process dies.
 */
export type Answer = (side: WorkerSide) => Effect.Effect<GrpcStatus>

/** A status and nothing else. */
export const status = (code: number, message = "", metadata: Metadata = noMetadata): Answer => () =>
  Effect.succeed(Status.make(code, message, metadata))

/** Accepts the call and says nothing, ever. */
export const silence: Answer = () => Effect.never

/** What {@link tokens} can be told. */
export interface TokensOptions {
  /** How many tokens, or which. Default 5. */
  readonly tokens?: number | ReadonlyArray<string> | undefined
  /** Time before the first token. Default none. */
  readonly firstAfter?: Duration.Input | undefined
  /** Time between tokens. Default 20 ms. */
  readonly every?: Duration.Input | undefined
  /** Loading notices before the first token. Default none; while a model loads, one each second in any case. */
  readonly notices?: ReadonlyArray<string> | undefined
  /** Tokens per batch of frames. Default 1. */
  readonly batch?: number | undefined
  /** Whether the last message has `end_of_stream`. Default true. */
  readonly endOfStream?: boolean | undefined
  readonly headers?: Metadata | undefined
  /** How the call ends. Default OK. */
  readonly status?: { readonly code: number; readonly message: string; readonly metadata?: Metadata } | undefined
}

const NOTICE = "[模型加载] 正在加载模型...\n"

/** The texts that `tokens: n` stands for. */
export const tokenTexts = (count: number): ReadonlyArray<string> => Array.from({ length: count }, (_, n) => `t${n} `)

/**
 * Answers as a CY-LLM worker does (wire contract): reads the first request, sends loading notices while a model loads,
 * then one message a token with a gapless `index`, and last an empty one with `end_of_stream`.
 */
export const tokens = (options: TokensOptions = {}): Answer => {
  const { batch = 1, endOfStream = true, every = 20, notices = [] } = options
  const texts = typeof options.tokens === "object" ? options.tokens : tokenTexts(options.tokens ?? 5)
  const { code = Status.Code.OK, message = "", metadata = noMetadata } = options.status ?? {}
  return Effect.fnUntraced(function*(side: WorkerSide) {
    const first = yield* side.request
    if (first === undefined) return Status.make(Status.Code.INVALID_ARGUMENT, "Empty request stream")
    const { traceId } = decodeRequest(first).metadata
    let index = 0
    const reply = (chunk: string, end = false) => encodeReply({ traceId, chunk, endOfStream: end, index: index++ })
    if (options.headers !== undefined) yield* side.headers(options.headers)
    for (const notice of notices) yield* side.send(framed(reply(notice)))
    while (side.isLoading()) {
      yield* side.send(framed(reply(NOTICE)))
      yield* Effect.timeoutOption(side.loaded, 1000)
    }
    if (options.firstAfter !== undefined) yield* Effect.sleep(options.firstAfter)
    for (let at = 0; at < texts.length; at += batch) {
      if (at > 0) yield* Effect.sleep(every)
      yield* side.send(framed(...texts.slice(at, at + batch).map((one) => reply(one))))
    }
    if (endOfStream) yield* side.send(framed(reply("", true)))
    return Status.make(code, message, metadata)
  })
}

/** Answers with what a Stream of frames brings; the end of the Stream is OK, its failure the status. */
export const stream = (
  make: (request: PredictRequest | undefined, side: WorkerSide) => Stream.Stream<FrameBatch, GrpcStatus>
): Answer =>
  Effect.fnUntraced(function*(side: WorkerSide) {
    const first = yield* side.request
    const frames = make(first === undefined ? undefined : decodeRequest(first), side)
    return yield* frames.pipe(
      Stream.runForEach(side.send),
      Effect.match({ onSuccess: () => Status.ok, onFailure: (status) => status })
    )
  })

/** The n-th call (from 0) gets the n-th answer, and every later one the last. */
export const inTurn = (...answers: readonly [Answer, ...ReadonlyArray<Answer>]): Answer => {
  let turn = 0
  return (side) => (answers[Math.min(turn++, answers.length - 1)] ?? answers[0])(side)
}
