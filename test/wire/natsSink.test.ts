import { assert, describe, it } from "@effect/vitest"
import { nkeys } from "@nats-io/transport-node"
import { Effect, Layer } from "effect"
import * as fs from "node:fs"
import * as path from "node:path"
import * as NatsBillingSink from "../../src/layers/NatsBillingSink.ts"
import { BillingSink, type BillingVerdict } from "../../src/services/BillingSink.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import type { UsageBatch } from "../../src/services/UsageJournal.ts"
import { configLayer, type MeteringOptions, record } from "../suites/usageSupport.ts"
import { hasNatsServer, NatsServer, withoutNats } from "../support/natsServer.ts"

const fixture = (name: string): string => path.join(import.meta.dirname, "../fixtures/tls", name)

const subject = "usage.records"

const batchOf = (count: number, from = 0): UsageBatch => ({
  batchId: "b-1",
  sidecarId: "host-1",
  records: Array.from({ length: count }, (_, index) => ({
    ...record(3, { id: `id-${from + index}` }),
    sidecar_id: "host-1"
  }))
})

/** A server for one test. */
const server = (lines: ReadonlyArray<string> = []) =>
  Effect.acquireRelease(Effect.promise(() => NatsServer.start(lines)), (nats) => Effect.promise(() => nats.close()))

/** A sink of the test's own: all its reports take the same connection. */
const sinkAt = Effect.fnUntraced(function*(endpoint: string, metering: MeteringOptions = {}) {
  const context = yield* Layer.build(
    NatsBillingSink.layer.pipe(Layer.provide(configLayer({ billing_endpoint: endpoint, ...metering })))
  )
  return yield* Effect.provide(BillingSink, context)
})

const troubleOf = (verdict: BillingVerdict) =>
  verdict._tag === "Later" ? `${verdict.reason}: ${verdict.detail}; ${verdict.remedy}` : verdict._tag

type KeyPair = ReturnType<typeof nkeys.createUser>

/** A token of NATS (JWT, alg ed25519-nkey) in which `signer` says what `subject` is. */
const jwt = (signer: KeyPair, subject: KeyPair, claims: object): string => {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url")
  const said = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${
    part({ jti: "test", iat: 1, iss: signer.getPublicKey(), name: "test", sub: subject.getPublicKey(), nats: claims })
  }`
  return `${said}.${Buffer.from(signer.sign(Buffer.from(said))).toString("base64url")}`
}

const promise = <A>(run: () => Promise<A>) => Effect.promise(run)

describe.skipIf(!hasNatsServer)(`a sink for NATS JetStream${withoutNats}`, () => {
  it.live("stores each record once, with its id, however often it is sent", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }))
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`)
      const batch = batchOf(200)
      assert.deepStrictEqual(yield* sink.send(batch), { _tag: "Accepted", duplicate: false })
      assert.deepStrictEqual(yield* sink.send(batch), { _tag: "Accepted", duplicate: true })
      const stored = yield* promise(() => nats.stored("USAGE"))
      assert.strictEqual(stored.length, 200)
      assert.deepStrictEqual(new Set(stored.map(({ id }) => id)), new Set(batch.records.map((one) => one.record_id)))
      assert.deepStrictEqual(JSON.parse(stored[0]!.text), batch.records.find((one) => one.record_id === stored[0]!.id))
      assert.strictEqual(stored[0]!.contentType, "application/json")
    }).pipe(Effect.scoped))

  it.live("sends CloudEvents when they are asked for", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }))
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`, { billing_format: "cloudevents" })
      yield* sink.send(batchOf(1))
      const [stored] = yield* promise(() => nats.stored("USAGE"))
      assert.strictEqual(stored?.contentType, "application/cloudevents+json; charset=utf-8")
      const event = JSON.parse(stored?.text ?? "")
      assert.deepStrictEqual([event.specversion, event.id, stored?.id], ["1.0", "id-0", "id-0"])
    }).pipe(Effect.scoped))

  it.live("says that no stream takes the subject, and delivers once one does", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`)
      assert.strictEqual(
        troubleOf(yield* sink.send(batchOf(100))),
        "misconfigured: NATS: no stream takes the subject usage.records, or JetStream is off; create a stream for it " +
          "(nats stream add), or correct the subject in [metering] billing_endpoint"
      )
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }))
      assert.strictEqual((yield* sink.send(batchOf(100)))._tag, "Accepted")
    }).pipe(Effect.scoped))

  it.live("dials again when the server was killed, and stores nothing twice", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }))
      // The first of two servers is not there at all.
      const sink = yield* sinkAt(`nats://127.0.0.1:9,${nats.address}/${subject}`)
      yield* sink.send(batchOf(100))
      yield* promise(() => nats.kill())
      assert.match(troubleOf(yield* sink.send(batchOf(150))), /^no_answer: NATS: connect ECONNREFUSED/)
      yield* promise(() => nats.start())
      assert.strictEqual((yield* sink.send(batchOf(150)))._tag, "Accepted")
      assert.strictEqual((yield* promise(() => nats.stored("USAGE"))).length, 150)
    }).pipe(Effect.scoped))

  it.live("says that there is no room, keeps what was stored apart, and goes on when there is", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() =>
        nats.stream({ name: "USAGE", subjects: [subject], max_msgs: 7, discard: "new", storage: "file" })
      )
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`)
      const verdict = yield* sink.send(batchOf(20))
      assert.strictEqual(verdict._tag === "Partly" && verdict.accepted.length, 7)
      assert.deepStrictEqual(verdict._tag === "Partly" && verdict.refused, [])
      const rest = batchOf(20, 100)
      assert.match(troubleOf(yield* sink.send(rest)), /^full: NATS 10077 maximum messages exceeded; make room/)
      yield* promise(() => nats.stream({ name: "USAGE", max_msgs: 100 }))
      assert.strictEqual((yield* sink.send(rest))._tag, "Accepted")
    }).pipe(Effect.scoped))

  it.live("says that the server's disk is full", () =>
    Effect.gen(function*() {
      const nats = new NatsServer()
      yield* Effect.addFinalizer(() => promise(() => nats.close()))
      yield* promise(() => nats.start([`jetstream { store_dir: "${nats.store}", max_file_store: 4096 }`]))
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }))
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`)
      const verdict = yield* sink.send(batchOf(64))
      const accepted = verdict._tag === "Partly" ? verdict.accepted.length : 0
      assert.isAbove(accepted, 0)
      assert.match(troubleOf(yield* sink.send(batchOf(64, 100))), /^full: NATS \d+ .*; make room/)
      assert.strictEqual((yield* promise(() => nats.stored("USAGE"))).length, accepted)
    }).pipe(Effect.scoped))

  it.live("has the record refused that the stream will never take, and no other", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject], max_msg_size: 2000 }))
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`)
      const batch = batchOf(3)
      const verdict = yield* sink.send({
        ...batch,
        records: batch.records.map((one, index) => index === 1 ? { ...one, adapter: "x".repeat(4000) } : one)
      })
      assert.deepStrictEqual(verdict, {
        _tag: "Partly",
        accepted: ["id-0", "id-2"],
        refused: [{ recordId: "id-1", detail: "NATS 10054 message size exceeds maximum allowed" }]
      })
    }).pipe(Effect.scoped))

  it.live("says which credentials are wrong, and takes those that the file has later", () =>
    Effect.gen(function*() {
      const nats = yield* server([`authorization { token: "right-token" }`])
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }, { token: "right-token" }))
      const file = path.join(nats.folder, "token")
      fs.writeFileSync(file, "wrong-token\n", { mode: 0o600 })
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`, { billing_token_file: file })
      assert.strictEqual(
        troubleOf(yield* sink.send(batchOf(1))),
        "misconfigured: NATS: Authorization Violation; check [metering] billing_token_file"
      )
      fs.writeFileSync(file, "right-token\n")
      assert.strictEqual((yield* sink.send(batchOf(1)))._tag, "Accepted")
      const inAddress = yield* sinkAt(`nats://bad-token@${nats.address}/${subject}`)
      assert.strictEqual(
        troubleOf(yield* inAddress.send(batchOf(1))),
        "misconfigured: NATS: Authorization Violation; check [metering] billing_endpoint"
      )
    }).pipe(Effect.scoped))

  it.live("is known by a user name, and says what that user may not do", () =>
    Effect.gen(function*() {
      const nats = yield* server([
        `authorization { users = [`,
        `  { user: "all", password: "a:b" }`,
        `  { user: "mute", password: "m", permissions: { publish: "other", subscribe: "_INBOX.>" } }`,
        `] }`
      ])
      yield* promise(() => nats.stream({ name: "USAGE", subjects: [subject] }, { user: "all", pass: "a:b" }))
      const sink = yield* sinkAt(`nats://all:a%3Ab@${nats.address}/${subject}`)
      assert.strictEqual((yield* sink.send(batchOf(1)))._tag, "Accepted")
      const mute = yield* sinkAt(`nats://mute:m@${nats.address}/${subject}`)
      assert.match(
        troubleOf(yield* mute.send(batchOf(1))),
        /^misconfigured: NATS: .*Permissions Violation for Publish.*; allow this user to publish to usage.records/
      )
    }).pipe(Effect.scoped))

  it.live("is known by a .creds file", () =>
    Effect.gen(function*() {
      const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()]
      const unlimited = { subs: -1, data: -1, payload: -1 }
      const limits = { ...unlimited, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 }
      const accountToken = jwt(operator, account, { type: "account", version: 2, limits })
      const nats = yield* server([
        "jetstream: false",
        `operator: ${jwt(operator, operator, { type: "operator", version: 2 })}`,
        "resolver: MEMORY",
        `resolver_preload: { ${account.getPublicKey()}: ${accountToken} }`
      ])
      const credsOf = (signer: KeyPair) =>
        [
          "-----BEGIN NATS USER JWT-----",
          jwt(signer, user, { type: "user", version: 2, ...unlimited }),
          "------END NATS USER JWT------",
          "",
          "-----BEGIN USER NKEY SEED-----",
          new TextDecoder().decode(user.getSeed()),
          "------END USER NKEY SEED------",
          ""
        ].join("\n")
      const file = path.join(nats.folder, "user.creds")
      fs.writeFileSync(file, credsOf(nkeys.createAccount()), { mode: 0o600 })
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`, { billing_credentials_file: file })
      assert.strictEqual(
        troubleOf(yield* sink.send(batchOf(1))),
        "misconfigured: NATS: Authorization Violation; check [metering] billing_credentials_file"
      )
      fs.writeFileSync(file, credsOf(account))
      assert.match(troubleOf(yield* sink.send(batchOf(1))), /^misconfigured: NATS: no stream takes the subject/)
    }).pipe(Effect.scoped))

  it.live("goes to another subject when the configuration says so meanwhile", () =>
    Effect.gen(function*() {
      const nats = yield* server()
      yield* promise(() => nats.stream({ name: "USAGE", subjects: ["usage.>"] }))
      const settings = yield* Effect.provide(SidecarConfig, configLayer({}))
      const metering = { ...settings.metering, billing_endpoint: `nats://${nats.address}/usage.one` }
      const context = yield* Layer.build(
        NatsBillingSink.layer.pipe(Layer.provide(Layer.succeed(SidecarConfig, { ...settings, metering })))
      )
      const sink = yield* Effect.provide(BillingSink, context)
      yield* sink.send(batchOf(1))
      metering.billing_endpoint = `nats://${nats.address}/usage.two`
      yield* sink.send(batchOf(1, 1))
      assert.deepStrictEqual((yield* promise(() => nats.stored("USAGE"))).map(({ id, subject }) => [id, subject]), [
        ["id-0", "usage.one"],
        ["id-1", "usage.two"]
      ])
    }).pipe(Effect.scoped))

  it.live("is known by an NKey", () =>
    Effect.gen(function*() {
      const key = nkeys.createUser()
      const nats = yield* server([`authorization { users = [ { nkey: ${key.getPublicKey()} } ] }`])
      const file = path.join(nats.folder, "seed")
      fs.writeFileSync(file, key.getSeed(), { mode: 0o600 })
      const sink = yield* sinkAt(`nats://${nats.address}/${subject}`, { billing_credentials_file: file })
      assert.match(troubleOf(yield* sink.send(batchOf(1))), /^misconfigured: NATS: no stream takes the subject/)
    }).pipe(Effect.scoped))

  it.live("shows its certificate, believes only the authority it is given, and talks to nobody without TLS", () =>
    Effect.gen(function*() {
      const nats = yield* server([
        `tls { cert_file: "${fixture("server.crt")}", key_file: "${fixture("server.key")}",`,
        `  ca_file: "${fixture("ca.crt")}", verify: true }`
      ])
      const files = {
        billing_tls_ca: fixture("ca.crt"),
        billing_tls_cert: fixture("client.crt"),
        billing_tls_key: fixture("client.key")
      }
      const known = yield* sinkAt(`tls://${nats.address}/${subject}`, files)
      assert.match(troubleOf(yield* known.send(batchOf(1))), /^misconfigured: NATS: no stream takes the subject/)
      const doubting = yield* sinkAt(`tls://${nats.address}/${subject}`, { billing_token_file: fixture("README.md") })
        .pipe(Effect.flip)
      assert.match(doubting.message, /^\[metering\] billing_token_file = ".*README.md": holds no token/)
      const trusting = yield* sinkAt(`tls://${nats.address}/${subject}`)
      assert.match(
        troubleOf(yield* trusting.send(batchOf(1))),
        /^no_answer: NATS: .*certificate.*; check \[metering\] billing_tls_ca/i
      )
      const plain = yield* server()
      const strict = yield* sinkAt(`tls://${plain.address}/${subject}`)
      assert.match(
        troubleOf(yield* strict.send(batchOf(1))),
        /^misconfigured: NATS: server does not support .tls.; enable TLS on the server/
      )
    }).pipe(Effect.scoped))
})
