import { assert, describe, it } from "@effect/vitest"
import { Effect, Logger } from "effect"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { billingAuth } from "../../src/internal/outbound/billingAuth.ts"
import { readHeaders } from "../../src/internal/outbound/headersFile.ts"
import { SidecarConfig } from "../../src/services/SidecarConfig.ts"
import { configLayer, type MeteringOptions } from "../suites/usageSupport.ts"

const folderOf = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(path.join(os.tmpdir(), "auth-"))),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const fixture = (name: string): string => path.join(import.meta.dirname, "../fixtures/tls", name)

const open = (metering: MeteringOptions) =>
  Effect.flatMap(SidecarConfig, (settings) => billingAuth(settings.metering)).pipe(
    Effect.provide(configLayer(metering))
  )

const mistakeOf = (metering: MeteringOptions) =>
  Effect.match(open(metering), {
    onFailure: ({ message }) => message,
    onSuccess: () => assert.fail("it is no mistake")
  })

/** What is logged meanwhile. */
const logged = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const lines: Array<string> = []
    return effect.pipe(
      Effect.provide(Logger.layer([Logger.make(({ message }) => void lines.push(String(message)))])),
      Effect.map((value) => ({ value, lines }))
    )
  })

describe("by what the billing service knows us", () => {
  it.effect("is read from files, and again when they change", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      const token = path.join(folder, "token")
      fs.writeFileSync(token, "first\n", { mode: 0o600 })
      const current = yield* open({ billing_token_file: token })
      const before = yield* current
      assert.strictEqual(before.token, "first")
      assert.strictEqual(yield* current, before)
      fs.writeFileSync(token, "second\n")
      assert.strictEqual((yield* logged(current)).value.token, "second")
    }).pipe(Effect.scoped))

  it.effect("is read again when a link on the way turns elsewhere, as a mounted Secret does", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      for (const name of ["one", "two"]) {
        fs.mkdirSync(path.join(folder, name))
        fs.writeFileSync(path.join(folder, name, "token"), `token-${name}`, { mode: 0o600 })
      }
      fs.symlinkSync("one", path.join(folder, "data"))
      fs.symlinkSync("data/token", path.join(folder, "token"))
      const current = yield* open({ billing_token_file: path.join(folder, "token") })
      fs.symlinkSync("two", path.join(folder, "next"))
      fs.renameSync(path.join(folder, "next"), path.join(folder, "data"))
      assert.strictEqual((yield* logged(current)).value.token, "token-two")
    }).pipe(Effect.scoped))

  it.effect("stays what it was while a file cannot be used, which is said once without its content", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      const token = path.join(folder, "token")
      fs.writeFileSync(token, "first", { mode: 0o600 })
      const current = yield* open({ billing_token_file: token })
      fs.writeFileSync(token, "sec ret")
      const { lines, value } = yield* logged(Effect.andThen(current, current))
      assert.strictEqual(value.token, "first")
      assert.deepStrictEqual(lines, [
        `billing: [metering] billing_token_file = "${token}": holds no token; write one line of printable ASCII without ` +
        "spaces; what was read before stays in force"
      ])
      fs.rmSync(token)
      assert.match((yield* logged(current)).lines[0] ?? "", /does not exist; .*; what was read before stays in force$/)
    }).pipe(Effect.scoped))

  it.effect("says what is wrong with a file in one line, with the key, the path and the remedy", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      const at = (name: string, content: string) => {
        fs.writeFileSync(path.join(folder, name), content, { mode: 0o600 })
        return path.join(folder, name)
      }
      assert.strictEqual(
        yield* mistakeOf({ billing_token_file: "/nowhere/token" }),
        "[metering] billing_token_file = \"/nowhere/token\": does not exist; create the file, or correct the path"
      )
      assert.match(yield* mistakeOf({ billing_token_file: folder }), /: is not a file; name one$/)
      assert.match(yield* mistakeOf({ billing_token_file: "/dev/zero" }), /: is not a file; name one$/)
      assert.match(yield* mistakeOf({ billing_token_file: at("large", "x".repeat(300_000)) }), /: has more than/)
      assert.match(yield* mistakeOf({ billing_credentials_file: at("creds", "s3cret") }), /: holds no NATS credentials/)
      assert.match(yield* mistakeOf({ billing_tls_ca: at("ca", "s3cret") }), /: is not a certificate; name a PEM file$/)
      const pair = { billing_tls_cert: fixture("client.crt"), billing_tls_key: fixture("stranger.key") }
      const notAPair = yield* mistakeOf(pair)
      assert.match(notAPair, /^\[metering\] billing_tls_cert = ".*client.crt": and billing_tls_key = ".*stranger.key"/)
      const headers = yield* mistakeOf({
        billing_token_file: at("token", "t"),
        billing_headers_file: at("headers", "Authorization: s3cret")
      })
      assert.match(headers, /: has an Authorization header, and billing_token_file is set; keep one of them$/)
      for (const line of [notAPair, headers]) assert.notInclude(line, "s3cret")
    }).pipe(Effect.scoped))

  it.effect.skipIf(process.getuid?.() === 0)("says that this user may not read a file", () =>
    Effect.gen(function*() {
      const token = path.join(yield* folderOf, "token")
      fs.writeFileSync(token, "first", { mode: 0 })
      assert.match(yield* mistakeOf({ billing_token_file: token }), /: may not be read by this user; give it read/)
    }).pipe(Effect.scoped))

  it.effect("warns of a secret that everybody on the machine may read, and not of a certificate", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf
      const token = path.join(folder, "token")
      fs.writeFileSync(token, "s3cret")
      fs.chmodSync(token, 0o644)
      const { lines } = yield* logged(open({ billing_token_file: token, billing_tls_ca: fixture("ca.crt") }))
      assert.deepStrictEqual(lines, [
        `[metering] billing_token_file = "${token}": every user of this machine may open it (mode 0644); chmod 0600 it, ` +
        "or set defaultMode: 0440 where a Secret is mounted"
      ])
      fs.chmodSync(token, 0o440)
      assert.deepStrictEqual((yield* logged(open({ billing_token_file: token }))).lines, [])
    }).pipe(Effect.scoped))
})

describe("a file of headers", () => {
  it("has a header a line, and comments", () => {
    assert.deepStrictEqual(readHeaders("# who we are\nX-Api-Key: a b\r\n\nx-tenant:acme \n"), {
      "x-api-key": "a b",
      "x-tenant": "acme"
    })
  })

  it.each(
    [
      ["s3cret", "line 1 is no header; write Name: value, in printable ASCII"],
      ["X-Key: s3cret\nX Key: s3cret", "line 2 is no header; write Name: value, in printable ASCII"],
      ["X-Key: s3créť", "line 1 is no header; write Name: value, in printable ASCII"],
      ["Content-Length: 3", "line 1 sets content-length, which the sidecar sets itself; leave it out"],
      ["a: s3cret\nA: s3cret", "line 2 sets a a second time; keep one of them"]
    ] as const
  )("says what is wrong without a value: %s", (text, mistake) => {
    assert.strictEqual(readHeaders(text), mistake)
  })
})
