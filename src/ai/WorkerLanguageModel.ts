import { Clock, Duration, Effect, Layer, Stream } from "effect"
import { AiError, LanguageModel, type Prompt, type Response } from "effect/ai"
import { LlmClient, type PredictError, type PredictRequest } from "../services/LlmClient.ts"
import { Code } from "../services/Status.ts"
import { mostTokens } from "../services/UsageTally.ts"
import type { Metadata } from "../services/Wire.ts"

/** Which model answers, and how it is asked: the fields of a `PredictRequest` but the prompt. */
export interface Options extends Omit<PredictRequest, "prompt"> {
  /** The model's chat template: what is said to the worker for a prompt. {@link textOf} gives the text of a message. */
  readonly render: (prompt: Prompt.Prompt) => string
  /** The deadline of a call. Default: none. */
  readonly timeout?: Duration.Input | undefined
}

/** The text of a message: its text parts, one after the other. Other parts are left out. */
export const textOf = (message: Prompt.Message): string =>
  message.role === "system"
    ? message.content
    : message.content.map((part) => part.type === "text" ? part.text : "").join("")

/**
 * A `LanguageModel` over the worker. Text only: tools and structured output fail with `InvalidRequestError`, since the
 * contract with the worker has neither.
 *
 * **Details**
 *
 * `finish` has the usage: the worker's own numbers when its trailers have them, else a token for each chunk. Its reason is
 * `length` when `maxNewTokens` are reached, else `stop`. An end that is not OK is an `AiError`, retryable where a call that
 * has delivered nothing may be made again.
 */
export const layer = (options: Options): Layer.Layer<LanguageModel.LanguageModel, never, LlmClient> =>
  Layer.effect(
    LanguageModel.LanguageModel,
    Effect.gen(function*() {
      const client = yield* LlmClient
      return yield* LanguageModel.make({
        streamText: (provider) => streamText(client, options, provider, "streamText"),
        generateText: (provider) =>
          Stream.runCollect(streamText(client, options, provider, "generateText")).pipe(
            Effect.map((parts) => {
              const text = parts.map((part) => part.type === "text-delta" ? part.delta : "").join("")
              const rest = parts.filter((part) => part.type === "response-metadata" || part.type === "finish")
              return [{ type: "text", text }, ...rest]
            })
          )
      })
    })
  )

const PART_ID = "0"

const streamText = (
  client: LlmClient["Service"],
  { render, timeout, ...asked }: Options,
  { prompt, responseFormat, tools }: LanguageModel.ProviderOptions,
  method: string
): Stream.Stream<Response.StreamPartEncoded, AiError.AiError> => {
  if (tools.length > 0 || responseFormat.type !== "text") {
    const what = tools.length > 0 ? "tools" : "structured output"
    return Stream.fail(failure(method, new AiError.InvalidRequestError({ description: `A worker knows no ${what}` })))
  }
  return Stream.unwrap(Effect.gen(function*() {
    const timestamp = new Date(yield* Clock.currentTimeMillis).toISOString()
    let chunks = 0
    let trailers: Metadata = {}
    const head: ReadonlyArray<Response.StreamPartEncoded> = [
      { type: "response-metadata", modelId: asked.model, timestamp },
      { type: "text-start", id: PART_ID }
    ]
    const onTrailers = (metadata: Metadata): void => {
      trailers = metadata
    }
    const deltas = client.tokens({ ...asked, prompt: render(prompt) }, { timeout, onTrailers }).pipe(
      Stream.map((delta): Response.StreamPartEncoded => {
        chunks++
        return { type: "text-delta", id: PART_ID, delta }
      }),
      Stream.mapError((error) => failure(method, reasonOf(error)))
    )
    const tail = Stream.suspend(() =>
      Stream.fromIterable<Response.StreamPartEncoded>([
        { type: "text-end", id: PART_ID },
        finish(chunks, trailers, asked.generation?.maxNewTokens)
      ])
    )
    return Stream.fromIterable(head).pipe(Stream.concat(deltas), Stream.concat(tail))
  }))
}

/** A count in the worker's trailers, if it is one that can be believed. */
const countIn = (trailers: Metadata, key: string): number | undefined => {
  const word = trailers[key]
  if (typeof word !== "string" || !/^\d{1,10}$/.test(word)) return undefined
  return Number(word) <= mostTokens ? Number(word) : undefined
}

const finish = (chunks: number, trailers: Metadata, maxNewTokens: number | undefined): Response.FinishPartEncoded => {
  const input = countIn(trailers, "cy-prompt-tokens")
  const output = countIn(trailers, "cy-completion-tokens") ?? chunks
  return {
    type: "finish",
    reason: maxNewTokens !== undefined && maxNewTokens > 0 && output >= maxNewTokens ? "length" : "stop",
    usage: {
      inputTokens: input === undefined ? {} : { total: input },
      outputTokens: { total: output, text: output }
    }
  }
}

const failure = (method: string, reason: AiError.AiErrorReason): AiError.AiError =>
  AiError.make({ module: "WorkerLanguageModel", method, reason })

const reasonOf = ({ code, delivered, message, reason, retryAfterMillis }: PredictError): AiError.AiErrorReason => {
  const description = reason === "" ? message : `${message} (${reason})`
  switch (code) {
    case Code.RESOURCE_EXHAUSTED:
      return new AiError.RateLimitError(
        retryAfterMillis === undefined ? {} : { retryAfter: Duration.millis(retryAfterMillis) }
      )
    case Code.INVALID_ARGUMENT:
    case Code.NOT_FOUND:
      return new AiError.InvalidRequestError({ description })
    case Code.UNAVAILABLE:
      // What a user has seen must not be asked for again.
      return delivered === 0
        ? new AiError.InternalProviderError({ description })
        : new AiError.UnknownError({ description })
    default:
      return new AiError.UnknownError({ description })
  }
}
