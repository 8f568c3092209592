import type { ModelTokens, StreamMetrics } from "../../services/StreamMetrics.ts"
import { mostTokens, tokensOf, type UsageTally } from "../../services/UsageMeter.ts"
import type { FrameBatch, Metadata } from "../../services/Wire.ts"
import { first } from "../wire/metadata.ts"
import { peekBatch, type PeekOptions } from "./peek.ts"
import { anonymous } from "./requestIdentity.ts"
import type { TenantAccount } from "./tenants.ts"

/** A count in the worker's trailers, if it is one that can be believed. */
const count = (value: string | undefined): number | undefined => {
  if (value === undefined || !/^\d{1,10}$/.test(value)) return undefined
  const found = Number(value)
  return found <= mostTokens ? found : undefined
}

/** Counts one stream's replies into its tally and the metrics: per batch a look at the bytes and a few additions. */
export class ReplyCount {
  readonly #arrivedAt: number
  readonly #exportedTraceId: string | undefined
  // What each token reads or moves stands together, up to the first fields of a Delivery.
  readonly #tally: UsageTally
  readonly #metrics: StreamMetrics["Service"]
  readonly #options: PeekOptions
  /** What its tenant may still have is less by each token. */
  readonly #account: TenantAccount | undefined
  #model: ModelTokens | undefined
  /** Whole milliseconds: V8 keeps a fraction in an object of its own, which each token would have to find. */
  #lastTokenAt = 0

  /** `exportedTraceId`: the trace in which the stream is exported. */
  constructor(
    tally: UsageTally,
    metrics: StreamMetrics["Service"],
    options: PeekOptions,
    arrivedAt: number,
    exportedTraceId?: string,
    account?: TenantAccount
  ) {
    this.#account = account
    this.#exportedTraceId = exportedTraceId
    this.#tally = tally
    this.#metrics = metrics
    this.#options = options
    this.#arrivedAt = arrivedAt
  }

  /** The trace of the stream: the one it is exported in, else the one that its request names. */
  get traceId(): string | undefined {
    return this.#exportedTraceId ?? this.#tally.identity?.traceId
  }

  /** The worker has said that it was the last token. */
  protected get ended(): boolean {
    return this.#tally.ended
  }

  /** Counts a batch that is handed to the gateway now. `true`: it holds the stream's first token. */
  add(batch: FrameBatch, now: number): boolean {
    const tally = this.#tally
    const { chunks, malformed } = tally
    peekBatch(batch, tally, this.#options)
    if (tally.malformed !== malformed) this.#metrics.malformedFrame()
    const fresh = tally.chunks - chunks
    if (fresh === 0) return false
    const at = Math.ceil(now)
    if (chunks === 0) this.#firstToken(now)
    else this.#metrics.interToken((at - this.#lastTokenAt) / 1000)
    this.#lastTokenAt = at
    this.#modelTokens().add(fresh)
    this.#account?.spend(fresh)
    return chunks === 0
  }

  /** The worker's own numbers, when its trailers have them and they can be believed, win over counted chunks. */
  takeTrailers(trailers: Metadata): void {
    const tally = this.#tally
    const promptWord = first(trailers, "cy-prompt-tokens")
    tally.promptTokens = count(promptWord)
    if (tally.promptTokens === undefined) tally.doubtedPrompt = promptWord
    const word = first(trailers, "cy-completion-tokens")
    const tokens = count(word)
    if (tokens === undefined) {
      tally.doubtedTokens = word
      return
    }
    const more = Math.max(0, tokens - tokensOf(tally))
    this.#modelTokens().add(more)
    this.#account?.spend(more)
    tally.workerTokens = tokens
  }

  #firstToken(now: number): void {
    const millis = now - this.#arrivedAt
    this.#tally.ttftMillis = Math.round(millis)
    this.#tally.identity ??= anonymous
    this.#metrics.firstToken(millis / 1000, this.traceId)
  }

  #modelTokens(): ModelTokens {
    this.#model ??= this.#metrics.modelTokens(this.#tally.identity?.modelId ?? "")
    return this.#model
  }
}
