import { Context, type Effect, type Stream } from "effect"
import type { PredictRequest } from "../internal/client/aiProto.ts"

/**
 * How the stand-in worker behaves.
 *
 * - `socket`: where it listens, `unix:///path` or a path; default `unix:///tmp/cy_worker.sock`.
 * - `tokensPerSecond`: of one stream; 0 is as fast as they are taken. Default 40.
 * - `tokens`: of one answer. Default: a few sentences.
 * - `loadingNotices`: so many `[模型加载] …` messages before the first token, `noticeMillis` (default 200) apart. Default 0.
 * - `bearerToken`: demanded as `authorization: Bearer …` on StreamPredict and Control. Default: none.
 * - `threads`: streams and Health share so many places, and a cancelled stream keeps its place until its generation is
 *   over, as in a CY-LLM worker (which has 10). Default: no limit, and a cancelled stream ends at once.
 * - `models`: the models it knows; others are NOT_FOUND. Default: any.
 * - `usageTrailers`: ends an answer with `cy-completion-tokens` and `cy-prompt-tokens`. Default false.
 * - `reloadSeconds`: it starts in the middle of a reload that takes so long. Default: it is ready at once.
 * - `graceMillis`: what running streams get when its scope closes. Default 5000.
 */
export interface StandInOptions {
  readonly socket?: string | undefined
  readonly tokensPerSecond?: number | undefined
  readonly tokens?: number | undefined
  readonly loadingNotices?: number | undefined
  readonly noticeMillis?: number | undefined
  readonly bearerToken?: string | undefined
  readonly threads?: number | undefined
  readonly models?: ReadonlyArray<string> | undefined
  readonly usageTrailers?: boolean | undefined
  readonly reloadSeconds?: number | undefined
  readonly graceMillis?: number | undefined
}

/** How one stream ended at the worker. `cancelled`: the caller left, or its deadline passed. */
export type StandInOutcome = "completed" | "cancelled" | "failed"

/** What the worker saw, for tests and for its log. */
export type StandInEvent =
  | { readonly _tag: "StreamStarted"; readonly request: PredictRequest; readonly metadata: Record<string, string> }
  | {
    readonly _tag: "StreamEnded"
    readonly outcome: StandInOutcome
    readonly tokens: number
    readonly detail: string
  }
  | { readonly _tag: "Reloading"; readonly seconds: number }
  | { readonly _tag: "Ready" }

/** A worker of the wire contract that generates canned text: for demos, and for tests with a real socket. */
export class StandInWorker extends Context.Service<StandInWorker, {
  /** Where it listens: `unix:///path`. */
  readonly address: string
  /** Its Health says `status = reloading` for so long, and new streams wait for the end of it. */
  readonly reload: (seconds: number) => Effect.Effect<void>
  /** What happens from now on. */
  readonly events: Stream.Stream<StandInEvent>
}>()("cy-llm-sidecar/StandInWorker") {}
