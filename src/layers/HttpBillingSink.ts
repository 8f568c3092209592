import { ByteSize, Clock, Effect, Layer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpIncomingMessage } from "effect/http"
import { retryAfterMillis, verdictOf } from "../internal/usage/billingVerdict.ts"
import { BillingSink, BillingVerdict } from "../services/BillingSink.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import type { UsageBatch } from "../services/UsageJournal.ts"

/** One attempt is given up after this. */
const answerLimit = "10 seconds"
/** So much of an answer's text goes into the log and the quarantine. Characters. */
const detailLimit = 200

/** Posts batches with the {@link HttpClient.HttpClient} it is given; redirects count as a wrong endpoint. */
export const layerNoClient: Layer.Layer<BillingSink, never, SidecarConfig | HttpClient.HttpClient> = Layer.effect(
  BillingSink,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const client = yield* HttpClient.HttpClient
    const endpoint = new URL(metering.billing_endpoint ?? "http://localhost")
    const { password, username } = endpoint
    endpoint.username = ""
    endpoint.password = ""
    const post = username === ""
      ? HttpClientRequest.post(endpoint)
      : HttpClientRequest.post(endpoint).pipe(
        HttpClientRequest.basicAuth(decodeURIComponent(username), decodeURIComponent(password))
      )

    const words = (text: string): string => text.replaceAll(/\s+/g, " ").trim().slice(0, detailLimit).toWellFormed()

    const send = (batch: UsageBatch): Effect.Effect<BillingVerdict> =>
      Effect.gen(function*() {
        const response = yield* client.execute(post.pipe(
          HttpClientRequest.setHeader("idempotency-key", batch.batchId),
          HttpClientRequest.bodyText(
            JSON.stringify({ batch_id: batch.batchId, sidecar_id: batch.sidecarId, records: batch.records }),
            "application/json"
          )
        ))
        const now = yield* Clock.currentTimeMillis
        const text = yield* response.text.pipe(
          Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.kibibytes(64)),
          Effect.orElseSucceed(() => "")
        )
        return verdictOf(
          response.status,
          `HTTP ${response.status} ${words(text)}`.trim(),
          retryAfterMillis(response.headers["retry-after"], now)
        )
      }).pipe(
        Effect.timeoutOrElse({
          duration: answerLimit,
          orElse: () =>
            Effect.succeed(BillingVerdict.Later({
              reason: "timeout",
              detail: `no answer within ${answerLimit}`,
              retryAfterMillis: undefined
            }))
        }),
        Effect.catch((error) =>
          Effect.succeed(BillingVerdict.Later({
            reason: "no_answer",
            detail: words(error.message),
            retryAfterMillis: undefined
          }))
        )
      )

    return BillingSink.of({ send })
  })
)

/** The same, with the platform's `fetch`. */
export const layer: Layer.Layer<BillingSink, never, SidecarConfig> = layerNoClient.pipe(
  Layer.provide(FetchHttpClient.layer),
  Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" }))
)
