import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { HttpClient, HttpClientError, type HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import * as HttpBillingSink from "../../src/layers/HttpBillingSink.ts"
import { BillingSink, type BillingVerdict } from "../../src/services/BillingSink.ts"
import { configLayer, type MeteringOptions, record } from "../suites/usageSupport.ts"

const batch = { batchId: "b-1", sidecarId: "host-1", records: [{ ...record(3), sidecar_id: "host-1" }] }

/** A service that answers `status` to everything, and what it was asked. */
const makeService = (status: number, headers: Record<string, string> = {}, body = "") => {
  const requests: Array<HttpClientRequest.HttpClientRequest> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      requests.push(request)
      return HttpClientResponse.fromWeb(
        request,
        new Response(status === 204 || status === 304 ? null : body, { status, headers })
      )
    })
  )
  return { requests, client }
}

const send = (
  client: HttpClient.HttpClient,
  endpoint = "http://billing.test/v1/usage",
  metering: MeteringOptions = {}
) =>
  Effect.flatMap(BillingSink, (sink) => sink.send(batch)).pipe(
    Effect.provide(HttpBillingSink.layerNoClient.pipe(
      Layer.provide(Layer.succeed(HttpClient.HttpClient, client)),
      Layer.provide(configLayer({ billing_endpoint: endpoint, ...metering }))
    ))
  )

const bodyOf = (request: HttpClientRequest.HttpClientRequest): unknown =>
  request.body._tag === "Uint8Array" ? JSON.parse(new TextDecoder().decode(request.body.body)) : undefined

/** A file of a secret. */
const secretFile = (content: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "http-sink-")), "secret")
      fs.writeFileSync(file, content, { mode: 0o600 })
      return file
    }),
    (file) => Effect.sync(() => fs.rmSync(path.dirname(file), { recursive: true, force: true }))
  )

const detailOf = (verdict: BillingVerdict): string =>
  verdict._tag === "Later" ? `${verdict.detail}; ${verdict.remedy}` : verdict._tag === "Refused" ? verdict.detail : ""

describe("HttpBillingSink", () => {
  it.effect("posts the batch as JSON with its id as Idempotency-Key", () =>
    Effect.gen(function*() {
      const { client, requests } = makeService(200)
      yield* send(client)
      const [request] = requests
      assert.strictEqual(request?.method, "POST")
      assert.strictEqual(request?.headers["idempotency-key"], "b-1")
      assert.strictEqual(request?.headers["content-type"], "application/json")
      assert.deepStrictEqual(bodyOf(request!), { batch_id: "b-1", sidecar_id: "host-1", records: batch.records })
    }))

  it.effect("sends the name and password of the endpoint as credentials, not in the address", () =>
    Effect.gen(function*() {
      const { client, requests } = makeService(200)
      yield* send(client, "https://sidecar:s%40cret@billing.test/v1")
      assert.notInclude(requests[0]!.url.toString(), "cret")
      assert.strictEqual(requests[0]!.headers["authorization"], `Basic ${btoa("sidecar:s@cret")}`)
    }))

  it.effect("sends the token and the headers of its files", () =>
    Effect.gen(function*() {
      const { client, requests } = makeService(200)
      yield* send(client, "https://billing.test/v1", {
        billing_token_file: yield* secretFile("t0ken\n"),
        billing_headers_file: yield* secretFile("X-Api-Key: k3y\n")
      })
      assert.strictEqual(requests[0]!.headers["authorization"], "Bearer t0ken")
      assert.strictEqual(requests[0]!.headers["x-api-key"], "k3y")
      assert.strictEqual(requests[0]!.headers["idempotency-key"], "b-1")
      assert.strictEqual(requests[0]!.headers["content-type"], "application/json")
    }).pipe(Effect.scoped))

  it.effect("shows no secret that the service repeats in its refusal", () =>
    Effect.gen(function*() {
      const basic = btoa("sidecar:s3cret")
      const echo = makeService(422, {}, `no ${basic}, s3cret, /v1?token=hidden`)
      assert.strictEqual(
        detailOf(yield* send(echo.client, "https://sidecar:s3cret@billing.test/v1?token=hidden")),
        "HTTP 422 no ***, ***, /v1?token=***"
      )
      const bearer = makeService(401, {}, "unknown token t0ken for key k3yk3y")
      assert.strictEqual(
        detailOf(
          yield* send(bearer.client, undefined, {
            billing_token_file: yield* secretFile("t0ken"),
            billing_headers_file: yield* secretFile("X-Api-Key: k3yk3y")
          })
        ),
        "HTTP 401 unknown token *** for key ***; check [metering] billing_token_file"
      )
      const scheme = makeService(422, {}, "no user hdr-t0ken, nor sk_live_1")
      assert.strictEqual(
        detailOf(
          yield* send(scheme.client, "https://sk_live_1@billing.test/", {
            billing_headers_file: yield* secretFile("X-Upstream: Bearer hdr-t0ken\n")
          })
        ),
        "HTTP 422 no user ***, nor ***"
      )
    }).pipe(Effect.scoped))

  it.effect.each(
    [
      [401, {}, "check [metering] billing_endpoint"],
      [404, {}, "check [metering] billing_endpoint"],
      [415, {}, "check [metering] billing_format"]
    ] as const
  )("names the key that is wrong when the answer is %i", ([status, metering, remedy]) =>
    Effect.gen(function*() {
      const { client } = makeService(status)
      const verdict = yield* send(client, undefined, metering)
      assert.strictEqual(verdict._tag === "Later" ? verdict.remedy : "", remedy)
    }))

  it.effect("sends a batch of CloudEvents, one for each record", () =>
    Effect.gen(function*() {
      const { client, requests } = makeService(204)
      yield* send(client, undefined, { billing_format: "cloudevents" })
      const [request] = requests
      assert.strictEqual(request?.headers["content-type"], "application/cloudevents-batch+json; charset=utf-8")
      assert.strictEqual(request?.headers["idempotency-key"], "b-1")
      const [one] = batch.records
      assert.deepStrictEqual(bodyOf(request!), [{
        specversion: "1.0",
        id: one?.record_id,
        source: "host-1",
        type: "cy.llm.usage.v1",
        time: one?.ended_at,
        subject: "acme",
        datacontenttype: "application/json",
        data: one
      }])
    }))

  it.effect.each(
    [
      [200, "Accepted"],
      [202, "Accepted"],
      [204, "Accepted"],
      [409, "Accepted"],
      [408, "Later"],
      [429, "Later"],
      [500, "Later"],
      [503, "Later"],
      [302, "Later"],
      [401, "Later"],
      [403, "Later"],
      [404, "Later"],
      [413, "TooLarge"],
      [400, "Refused"],
      [422, "Refused"]
    ] as const
  )("takes status %i as %s", ([status, verdict]) =>
    Effect.gen(function*() {
      const { client } = makeService(status)
      assert.strictEqual((yield* send(client))._tag, verdict)
    }))

  it.effect.each(
    [
      ["30", 30_000],
      ["Thu, 01 Jan 1970 00:02:00 GMT", 60_000],
      ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
      ["999999", 3_600_000],
      ["soon", undefined]
    ] as const
  )("reads Retry-After: %s", ([header, millis]) =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 minute")
      const { client } = makeService(429, { "retry-after": header })
      const verdict = yield* send(client)
      assert.strictEqual(verdict._tag === "Later" ? verdict.retryAfterMillis : "no", millis)
    }))

  it.effect("keeps the first words of a refusal, on one line", () =>
    Effect.gen(function*() {
      const { client } = makeService(422, {}, `no such\n tenant ${"x".repeat(5000)}`)
      const verdict = yield* send(client)
      assert.strictEqual(verdict._tag, "Refused")
      if (verdict._tag !== "Refused") return
      assert.match(verdict.detail, /^HTTP 422 no such tenant x+$/)
      assert.isAtMost(verdict.detail.length, 220)
    }))

  it.effect("takes a broken connection as no answer", () =>
    Effect.gen(function*() {
      const client = HttpClient.make((request) =>
        Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, description: "socket hang up" })
          })
        )
      )
      const verdict = yield* send(client)
      assert.strictEqual(verdict._tag === "Later" ? verdict.reason : "", "no_answer")
    }))

  it.effect("gives a silent service ten seconds", () =>
    Effect.gen(function*() {
      const waiting = yield* Effect.forkChild(send(HttpClient.make(() => Effect.never)), { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      const exit = waiting.pollUnsafe()
      assert.isTrue(exit?._tag === "Success" && exit.value._tag === "Later" && exit.value.reason === "timeout")
    }))
})
