import { assert, describe, it } from "vitest"
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
