import { assert, describe, it } from "@effect/vitest"
import { exhausted, saturated, sayChange } from "../../src/internal/connection/connectionLog.ts"
import { remedyFor } from "../../src/internal/connection/connectionRemedy.ts"
import { statusOf } from "../../src/internal/wire/streamStatus.ts"
import { comeBackIn, counted, lasting } from "../../src/internal/words.ts"
import * as E from "../../src/services/StreamError.ts"
import { WorkerState } from "../../src/services/WorkerConnection.ts"
import { settings } from "../support/fakeServices.ts"

describe("words for people", () => {
  it("have one of a thing in the singular", () => {
    assert.deepStrictEqual([0, 1, 2].map((n) => counted(n, "stream")), ["0 streams", "1 stream", "2 streams"])
    assert.strictEqual(statusOf(new E.TooManyStreams({ limit: 1 })).message, "More than 1 stream in flight")
    assert.strictEqual(
      statusOf(new E.WorkerLost({ delivered: 1, retryAfterMillis: 1 })).message,
      "Worker connection lost after 1 token"
    )
    assert.include(saturated(1), "while 1 call is open")
    assert.include(saturated(10), "while 10 calls are open")
  })

  it("tell the time that was configured, not the next second", () => {
    assert.deepStrictEqual([30, 300, 999, 1000, 5003, 30_001].map(lasting), ["0.1s", "0.3s", "1s", "1s", "5s", "30s"])
    assert.strictEqual(
      statusOf(new E.HoldTimeout({ heldMillis: 5004, retryAfterMillis: 1 })).message,
      "Worker did not come back within 5s"
    )
    assert.strictEqual(
      statusOf(new E.QueueTimeout({ queuedMillis: 60_002, retryAfterMillis: 1 })).message,
      "No place at the worker came free within 60s"
    )
    assert.include(
      sayChange(WorkerState.Connected({ since: 0 }), WorkerState.Reloading({ since: 1, until: 30_002 }))?.text,
      "back in about 30s"
    )
  })

  it("never send somebody back too early", () => {
    assert.deepStrictEqual([0, 1, 1000, 1001].map(comeBackIn), ["1s", "1s", "1s", "2s"])
  })

  it("say each thing once when the worker is lost", () => {
    const remedy = remedyFor(settings(), "unix:///w.sock")
    const said = (reason: "LinkBroken" | "HealthTimeout" | "ReloadTooLong", detail: string) =>
      sayChange(
        WorkerState.Connected({ since: 0 }),
        WorkerState.Disconnected({ since: 0, reason, detail, remedy: remedy(reason), attempt: 1, retryAt: undefined })
      )?.text ?? ""
    assert.strictEqual(
      said("LinkBroken", "the worker closed the connection"),
      "worker not connected (LinkBroken): the worker closed the connection; " +
        "the worker crashed or was restarted: look at its log"
    )
    assert.lengthOf(said("HealthTimeout", "no answer to Health within 2s").match(/Health within/g) ?? [], 1)
    assert.lengthOf(
      said("ReloadTooLong", "the worker has been reloading for 600s").match(/has been reloading/g) ?? [],
      1
    )
  })

  it("say how often the worker is dialled from now on", () => {
    assert.include(exhausted(5, 5), "trying again every 5s")
  })
})
