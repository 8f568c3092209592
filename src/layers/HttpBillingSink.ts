import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Effect, Layer } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { type AnswerLimits, firstText } from "../internal/outbound/answer.ts"
import { endpointOf } from "../internal/outbound/endpoint.ts"
import { innermostCause } from "../internal/outbound/innermostCause.ts"
import { retryAfterMillis, verdictOf } from "../internal/usage/billingVerdict.ts"
import { BillingSink, BillingVerdict } from "../services/BillingSink.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { UsageBatch } from "../services/UsageJournal.ts"

/** One attempt is given up when there is no status line after this. */
const answerLimit = "10 seconds"
/** So much of an answer's text goes into the log and the quarantine. Characters. */
const detailLimit = 200
/** The text of a refusal. */
const wordsLimits: AnswerLimits = { bytes: 4096, millis: 1000 }
/** The text of an acceptance is not wanted; read to its end, it lets the service close in peace. */
const restLimits: AnswerLimits = { bytes: 65_536, millis: 1000 }

/**
 * Posts batches with the {@link HttpClient.HttpClient} it is given; redirects count as a wrong endpoint. The status line
 * is the answer: what follows it delays no acceptance, and is read within small limits only.
 */
export const layerNoClient: Layer.Layer<BillingSink, never, SidecarConfig | HttpClient.HttpClient> = Layer.effect(
  BillingSink,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const client = yield* HttpClient.HttpClient
    const scope = yield* Effect.scope
    const { authorization, url } = endpointOf(metering.billing_endpoint ?? "http://localhost")
    const post = authorization === undefined
      ? HttpClientRequest.post(url)
      : HttpClientRequest.setHeader(HttpClientRequest.post(url), "authorization", authorization)

    const words = (text: string): string =>
      text.replaceAll(/[\s\p{Cc}]+/gu, " ").trim().slice(0, detailLimit).toWellFormed()

    const judge = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<BillingVerdict> =>
      Effect.gen(function*() {
        const retryAfter = retryAfterMillis(response.headers["retry-after"], yield* Clock.currentTimeMillis)
        const verdict = (detail: string) =>
          verdictOf(response.status, `HTTP ${response.status} ${detail}`.trim(), retryAfter)
        const bare = verdict("")
        if (bare._tag === "Accepted") {
          yield* Effect.forkIn(firstText(response, restLimits), scope)
          return bare
        }
        return verdict(words(yield* firstText(response, wordsLimits)))
      })

    const send = (batch: UsageBatch): Effect.Effect<BillingVerdict> =>
      client.execute(post.pipe(
        HttpClientRequest.setHeader("idempotency-key", batch.batchId),
        HttpClientRequest.bodyText(
          JSON.stringify({ batch_id: batch.batchId, sidecar_id: batch.sidecarId, records: batch.records }),
          "application/json"
        )
      )).pipe(
        // A post belongs to no stream's trace.
        Effect.provideService(HttpClient.TracerPropagationEnabled, false),
        Effect.timeout(answerLimit),
        Effect.flatMap(judge),
        Effect.catchTags({
          TimeoutError: () =>
            Effect.succeed(BillingVerdict.Later({
              reason: "timeout",
              detail: `no answer within ${answerLimit}`,
              retryAfterMillis: undefined
            })),
          HttpClientError: (error) =>
            Effect.succeed(BillingVerdict.Later({
              reason: "no_answer",
              detail: words(innermostCause(error)),
              retryAfterMillis: undefined
            }))
        })
      )

    return BillingSink.of({ send })
  })
)

/** The same, with Node's own client: it follows no redirects, and reaches every port. */
export const layer: Layer.Layer<BillingSink, never, SidecarConfig> = layerNoClient.pipe(
  Layer.provide(NodeHttpClient.layerNodeHttp)
)
