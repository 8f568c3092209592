import { assert, describe, it } from "vitest"
import { runningDifference, sameWords } from "../../src/cli/settings.ts"
import { keys } from "../../src/internal/config/keys.ts"
import { difference, LiveSettings, shownSettings } from "../../src/internal/config/liveSettings.ts"
import { settings } from "../support/fakeServices.ts"

const names = (changes: ReadonlyArray<{ readonly key: string }>) => changes.map(({ key }) => key)

describe("settings that are read again", () => {
  it("take over what is read at the time of use, and name what needs a restart", () => {
    const live = new LiveSettings(settings())
    const { server } = live.settings
    const found = live.apply(settings({
      server: { max_concurrent_streams: 5, bind_addr: "127.0.0.1:1" },
      observability: { log_level: "debug", metrics_port: 1 }
    }))
    assert.deepStrictEqual(found.live, [
      { section: "server", key: "max_concurrent_streams", from: "1000", to: "5" },
      { section: "observability", key: "log_level", from: "\"info\"", to: "\"debug\"" }
    ])
    assert.deepStrictEqual(names(found.needRestart), ["bind_addr", "metrics_port"])
    // The same object: who holds a section reads the new value, and the old one of what did not change.
    assert.deepStrictEqual([server.max_concurrent_streams, server.bind_addr], [5, "0.0.0.0:50051"])
    assert.deepStrictEqual(names(live.apply(settings()).live), ["max_concurrent_streams", "log_level"])
  })

  it("take another billing endpoint or certificate, and need a restart to switch one on or off", () => {
    const off = settings()
    const on = settings({ metering: { billing_endpoint: "http://a/" }, server: { tls_cert: "a", tls_key: "b" } })
    const other = settings({ metering: { billing_endpoint: "http://b/" }, server: { tls_cert: "c", tls_key: "d" } })
    const all = ["tls_cert", "tls_key", "billing_endpoint"]
    assert.deepStrictEqual(names(difference(on, other).live), all)
    for (const [from, to] of [[off, on], [on, off]] as const) {
      const found = difference(from, to)
      assert.deepStrictEqual([names(found.live), names(found.needRestart)], [[], all])
    }
  })

  it("need a restart for another protocol to billing", () => {
    const at = (billing_endpoint: string) => settings({ metering: { billing_endpoint } })
    assert.deepStrictEqual(names(difference(at("http://a/"), at("https://a/")).live), ["billing_endpoint"])
    assert.deepStrictEqual(names(difference(at("http://a/"), at("nats://a:4222/s")).needRestart), ["billing_endpoint"])
  })

  it("need a restart for another billing endpoint whose token, format or certificate needs one", () => {
    const before = settings({ metering: { billing_endpoint: "https://old/", billing_token_file: "/old" } })
    const after = settings({
      metering: { billing_endpoint: "https://new/", billing_token_file: "/new", batch_interval_secs: 5 }
    })
    const live = new LiveSettings(before)
    const found = live.apply(after)
    assert.deepStrictEqual(names(found.live), ["batch_interval_secs"])
    assert.deepStrictEqual(names(found.needRestart), ["billing_endpoint", "billing_token_file"])
    assert.strictEqual(live.settings.metering.billing_endpoint, "https://old/")
    assert.deepStrictEqual(
      runningDifference(shownSettings(before), shownSettings(after)).map((line) => /restart/.test(line)),
      [true, true, false]
    )
  })

  it("take over nothing that contradicts what stays until a restart", () => {
    const worker_token = "t".repeat(500)
    const live = new LiveSettings(settings({ server: { worker_token } }))
    const found = live.apply(settings({ server: { max_metadata_bytes: 7680, max_queued_streams: 1 } }))
    assert.deepStrictEqual(names(found.live), ["max_queued_streams"])
    assert.deepStrictEqual(names(found.needRestart), ["worker_token", "max_metadata_bytes"])
    assert.strictEqual(live.settings.server.max_metadata_bytes, 7168)
  })

  it("are not said to be the same where secrets cannot be compared", () => {
    assert.strictEqual(sameWords(shownSettings(settings())), "The sidecar that runs has these settings in force.")
    const secret = settings({ metering: { billing_endpoint: "https://user:hush@billing/" } })
    assert.include(sameWords(shownSettings(secret)), "secrets (***) are not compared")
  })

  it("tell no secret", () => {
    const secret = settings({
      server: { worker_token: "hush" },
      metering: { billing_endpoint: "http://user:hush@billing/?token=hush" }
    })
    assert.notInclude(JSON.stringify([difference(settings(), secret), shownSettings(secret)]), "hush")
  })

  it("name a key as one that needs a restart unless it is known to be read at the time of use", () => {
    const of = (live: string) => keys.filter((key) => key.live === live).map(({ key }) => key)
    assert.deepStrictEqual(of("when set"), ["tls_cert", "tls_key", "tls_client_ca", "billing_endpoint"])
    const always = of("always")
    assert.includeMembers(always, ["max_concurrent_streams", "hold_timeout_secs", "log_level", "notice_prefixes"])
    for (const key of ["bind_addr", "worker_uds", "worker_token", "journal_path", "metrics_port", "wire"]) {
      assert.notInclude(always, key)
    }
  })
})
