import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Clock, Effect, Exit, Layer, Scope } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import { type AnswerLimits, firstText } from "../internal/outbound/answer.ts"
import { type BillingAuth, billingAuth, type BillingTls } from "../internal/outbound/billingAuth.ts"
import { foreignWords } from "../internal/outbound/conceal.ts"
import { endpointOf, secretsOf } from "../internal/outbound/endpoint.ts"
import { innermostCause } from "../internal/outbound/innermostCause.ts"
import { tlsRemedy } from "../internal/outbound/tlsRemedy.ts"
import { retryAfterMillis, verdictOf } from "../internal/usage/billingVerdict.ts"
import { cloudEvent, eventBatchType } from "../internal/usage/cloudEvent.ts"
import { type BillingError, BillingSink, BillingVerdict } from "../services/BillingSink.ts"
import { type Settings, SidecarConfig } from "../services/SidecarConfig.ts"
import type { UsageBatch } from "../services/UsageJournal.ts"

/** One attempt is given up when there is no status line after this. */
const answerLimit = "10 seconds"
/** So much of an answer's text goes into the log and the quarantine. Characters. */
const detailLimit = 200
/** The text of a refusal. */
const wordsLimits: AnswerLimits = { bytes: 4096, millis: 1000 }
/** The text of an acceptance is not wanted; read to its end, it lets the service close in peace. */
const restLimits: AnswerLimits = { bytes: 65_536, millis: 1000 }

/** A batch as it is posted. The same batch always gives the same text. */
const bodyOf = (format: Settings["metering"]["billing_format"], batch: UsageBatch) =>
  format === "cloudevents"
    ? { type: eventBatchType, text: JSON.stringify(batch.records.map(cloudEvent)) }
    : {
      type: "application/json",
      text: JSON.stringify({ batch_id: batch.batchId, sidecar_id: batch.sidecarId, records: batch.records })
    }

/** The key by which the service knows us, for the log. */
const credentialsKey = (metering: Settings["metering"]): string | undefined =>
  (["billing_token_file", "billing_headers_file", "billing_tls_cert"] as const).find((key) =>
    metering[key] !== undefined
  )

const makeSink = Effect.fnUntraced(function*(
  metering: Settings["metering"],
  currentAuth: Effect.Effect<BillingAuth>
): Effect.fn.Return<BillingSink["Service"], never, HttpClient.HttpClient | Scope.Scope> {
  const client = yield* HttpClient.HttpClient
  const scope = yield* Effect.scope
  const credentials = credentialsKey(metering)

  const judge = (
    response: HttpClientResponse.HttpClientResponse,
    secrets: ReadonlyArray<string>
  ): Effect.Effect<BillingVerdict> =>
    Effect.gen(function*() {
      const retryAfter = retryAfterMillis(response.headers["retry-after"], yield* Clock.currentTimeMillis)
      const verdict = (detail: string) =>
        verdictOf(response.status, `HTTP ${response.status} ${detail}`.trim(), retryAfter, credentials)
      const bare = verdict("")
      if (bare._tag === "Accepted") {
        yield* Effect.forkIn(firstText(response, restLimits), scope)
        return bare
      }
      return verdict(foreignWords(yield* firstText(response, wordsLimits), detailLimit, secrets))
    })

  const send = Effect.fnUntraced(function*(batch: UsageBatch): Effect.fn.Return<BillingVerdict> {
    const auth = yield* currentAuth
    // The endpoint of the moment: it may change while the sidecar runs.
    const address = metering.billing_endpoint ?? "http://localhost"
    const { authorization, url } = endpointOf(address)
    const secrets = [...secretsOf(address), ...auth.secrets]
    const body = bodyOf(metering.billing_format, batch)
    const bearer = auth.token === undefined ? authorization : `Bearer ${auth.token}`
    return yield* client.execute(
      HttpClientRequest.post(url).pipe(
        HttpClientRequest.setHeaders({
          ...auth.headers,
          ...(bearer === undefined ? {} : { authorization: bearer }),
          "idempotency-key": batch.batchId
        }),
        HttpClientRequest.bodyText(body.text, body.type)
      )
    ).pipe(
      // A post belongs to no stream's trace.
      Effect.provideService(HttpClient.TracerPropagationEnabled, false),
      Effect.timeout(answerLimit),
      Effect.flatMap((response) => judge(response, secrets)),
      Effect.catchTags({
        TimeoutError: () =>
          Effect.succeed(BillingVerdict.Later({
            reason: "timeout",
            detail: `no answer within ${answerLimit}`,
            retryAfterMillis: undefined
          })),
        HttpClientError: (error) => {
          const detail = foreignWords(innermostCause(error), detailLimit, secrets)
          return Effect.succeed(BillingVerdict.Later({
            reason: "no_answer",
            detail,
            retryAfterMillis: undefined,
            remedy: tlsRemedy(detail, url.protocol === "https:")
          }))
        }
      })
    )
  })

  return BillingSink.of({ send })
})

/**
 * Posts batches with the {@link HttpClient.HttpClient} it is given; redirects count as a wrong endpoint. The status line
 * is the answer: what follows it delays no acceptance, and is read within small limits only.
 */
export const layerNoClient: Layer.Layer<BillingSink, BillingError, SidecarConfig | HttpClient.HttpClient> = Layer
  .effect(
    BillingSink,
    Effect.gen(function*() {
      const { metering } = yield* SidecarConfig
      return yield* makeSink(metering, yield* billingAuth(metering))
    })
  )

/** Node's agents, made anew when the TLS files have another content; connections of the old ones are closed. */
const renewedAgents = Effect.fnUntraced(function*(currentAuth: Effect.Effect<BillingAuth>) {
  const outer = yield* Effect.scope
  const open = Effect.fnUntraced(function*(tls: BillingTls | undefined) {
    const scope = yield* Scope.fork(outer)
    return { tls, scope, agents: yield* NodeHttpClient.makeAgent({ ...tls }).pipe(Scope.provide(scope)) }
  })
  const state = { held: yield* open((yield* currentAuth).tls) }
  return {
    auth: Effect.tap(currentAuth, ({ tls }) =>
      tls === state.held.tls
        ? Effect.void
        : Effect.gen(function*() {
          const old = state.held
          state.held = yield* open(tls)
          yield* Scope.close(old.scope, Exit.void)
        })),
    agents: NodeHttpClient.HttpAgent.of({
      get http() {
        return state.held.agents.http
      },
      get https() {
        return state.held.agents.https
      }
    })
  }
})

/** The same, with Node's own client: it follows no redirects, and reaches every port. */
export const layer: Layer.Layer<BillingSink, BillingError, SidecarConfig> = Layer.effect(
  BillingSink,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const { agents, auth } = yield* renewedAgents(yield* billingAuth(metering))
    const client = NodeHttpClient.layerNodeHttpNoAgent.pipe(
      Layer.provide(Layer.succeed(NodeHttpClient.HttpAgent, agents))
    )
    return yield* makeSink(metering, auth).pipe(Effect.provide(client))
  })
)
