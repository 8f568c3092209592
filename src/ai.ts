/**
 * `cy-llm-sidecar/ai`: Effect's own AI interface over a worker. Whoever writes `LanguageModel.streamText` has the worker, with
 * all that a stream has here: hold, queue, replay, usage record.
 */

/** `layer`: a `LanguageModel` (from `effect/ai`) over an `LlmClient`. */
export * as WorkerLanguageModel from "./ai/WorkerLanguageModel.ts"
