import { assert, describe, it } from "vitest"
import { keyNamed } from "../../src/internal/config/keys.ts"
import { configuredLimits } from "../../src/internal/metrics/configuredLimits.ts"
import { settings } from "../support/fakeServices.ts"

describe("the limits that are shown", () => {
  it("are named like their keys", () => {
    const unknown = Object.keys(configuredLimits(settings())).filter((name) => keyNamed(name) === undefined)
    assert.deepStrictEqual(unknown, [])
  })

  it("are those of tenants, too, when there are any", () => {
    assert.notProperty(configuredLimits(settings()), "max_tenant_streams")
    const { max_tenant_streams, max_tenant_tokens_per_min } = configuredLimits({
      ...settings(),
      tenants: { ...settings().tenants, max_tenant_streams: 5, max_tenant_tokens_per_min: 600 }
    })
    assert.deepStrictEqual([max_tenant_streams, max_tenant_tokens_per_min], [5, 600])
  })
})
