import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as https from "node:https"
import type { AddressInfo } from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import type { TLSSocket } from "node:tls"
import * as HttpBillingSink from "../../src/layers/HttpBillingSink.ts"
import { BillingSink, type BillingVerdict } from "../../src/services/BillingSink.ts"
import { configLayer, type MeteringOptions, record } from "../suites/usageSupport.ts"

const fixture = (name: string): string => path.join(import.meta.dirname, "../fixtures/tls", name)

const batch = { batchId: "b-1", sidecarId: "host-1", records: [{ ...record(3), sidecar_id: "host-1" }] }

/** A billing service that demands certificates of our authority, and who came. */
const service = Effect.acquireRelease(
  Effect.promise(async () => {
    const names: Array<string> = []
    const server = https.createServer(
      {
        cert: fs.readFileSync(fixture("server.crt")),
        key: fs.readFileSync(fixture("server.key")),
        ca: fs.readFileSync(fixture("ca.crt")),
        requestCert: true,
        rejectUnauthorized: true
      },
      (request, response) => {
        const socket = request.socket as TLSSocket
        names.push(String(socket.getPeerCertificate().subject?.CN))
        request.resume().on("end", () => response.writeHead(202).end())
      }
    )
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    return { names, server, url: `https://127.0.0.1:${(server.address() as AddressInfo).port}/usage` }
  }),
  ({ server }) =>
    Effect.promise(async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    })
)

const folder = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "billing-tls-"))),
  (made) => Effect.sync(() => fs.rmSync(made, { recursive: true, force: true }))
)

const sinkAt = Effect.fnUntraced(function*(endpoint: string, metering: MeteringOptions) {
  const context = yield* Layer.build(
    HttpBillingSink.layer.pipe(Layer.provide(configLayer({ billing_endpoint: endpoint, ...metering })))
  )
  return yield* Effect.provide(BillingSink, context)
})

const said = (verdict: BillingVerdict): string =>
  verdict._tag === "Later" ? `${verdict.reason}: ${verdict.detail}; ${verdict.remedy}` : verdict._tag

describe("a billing service with TLS", () => {
  it.live("sees our certificate, and the next one as soon as the files have it", () =>
    Effect.gen(function*() {
      const { names, url } = yield* service
      const files = yield* folder
      const take = (name: string) => {
        for (const kind of ["crt", "key"]) {
          fs.copyFileSync(fixture(`${name}.${kind}`), path.join(files, `ours.${kind}`))
          fs.chmodSync(path.join(files, `ours.${kind}`), 0o600)
        }
      }
      take("stranger")
      const sink = yield* sinkAt(url, {
        billing_tls_ca: fixture("ca.crt"),
        billing_tls_cert: path.join(files, "ours.crt"),
        billing_tls_key: path.join(files, "ours.key")
      })
      assert.match(
        said(yield* sink.send(batch)),
        /^no_answer: .*check \[metering\] billing_tls_cert and billing_tls_key$/
      )
      take("client")
      assert.strictEqual(said(yield* sink.send(batch)), "Accepted")
      assert.strictEqual(said(yield* sink.send(batch)), "Accepted")
      assert.strictEqual(names.length, 2)
    }).pipe(Effect.scoped))

  it.live("is not believed when its certificate is of an authority that we were not given", () =>
    Effect.gen(function*() {
      const { names, url } = yield* service
      const sink = yield* sinkAt(url, {
        billing_tls_cert: fixture("client.crt"),
        billing_tls_key: fixture("client.key")
      })
      assert.match(said(yield* sink.send(batch)), /^no_answer: .*; check \[metering\] billing_tls_ca/)
      assert.deepStrictEqual(names, [])
    }).pipe(Effect.scoped))
})
