import { afterEach, describe, expect, it } from "vitest"
import { type Behaviour, BillingServer, status } from "../support/billingServer.ts"
import { Lab, type LabOptions } from "../support/lab.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { seeded } from "../support/seeded.ts"
import type { WorkerSideCall } from "../support/testWorker.ts"

const closers: Array<() => Promise<void>> = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

const openBilled = async (options: LabOptions = {}) => {
  const billing = await BillingServer.start()
  closers.push(() => billing.close())
  const lab = new Lab({
    ...options,
    env: {
      SIDECAR_BILLING_ENDPOINT: billing.url,
      SIDECAR_BATCH_INTERVAL_SECS: "0.2",
      SIDECAR_RECONNECT_DELAY_SECS: "0.1",
      ...options.env
    }
  })
  closers.push(() => lab.close())
  await lab.open()
  return { billing, lab }
}

/** How the streams of the test end. */
type Plan = "complete" | "cancel" | "fail" | "hang"

const outcomeOf: Readonly<Record<Plan, string>> = {
  complete: "completed",
  cancel: "cancelled",
  fail: "failed",
  hang: "worker_lost"
}

/** Does what the gateway's metadata asks: so many tokens, then an end, or none. */
const serve = (call: WorkerSideCall): void => {
  const count = Number(call.headers["x-tokens"])
  call.send(...tokens(count))
  if (call.headers["x-plan"] === "complete") {
    call.send(endOfStream(count))
    call.end()
  }
  if (call.headers["x-plan"] === "fail") call.end(8, "out of memory")
}

describe("the usage of a sidecar", () => {
  it("reaches a billing service that fails in every way exactly once, with the tokens that gateways received", {
    timeout: 240_000
  }, async () => {
    const { billing, lab } = await openBilled()
    const random = seeded(20_260_131)
    const faults: ReadonlyArray<Behaviour> = [
      status(503),
      status(200),
      status(429, { "retry-after": "1" }),
      status(200),
      { kind: "break" },
      status(500),
      status(200),
      { kind: "silence" },
      status(408),
      // An HTTP date knows no fractions: at least a second from now.
      status(429, { "retry-after": new Date(Date.now() + 2000).toUTCString() }),
      status(200)
    ]
    let fault = 0
    let healed = false
    billing.behave(({ records }) => {
      if (records.some(({ tenant }) => tenant === "poison")) return status(400)
      if (records.length > 60) return status(413)
      return healed ? status(200) : faults[fault++ % faults.length]!
    })

    /** Tokens that the gateway received, by trace id. */
    const received = new Map<string, number>()
    const outcomes = new Map<string, string>()
    let number = 0
    const begin = (plan: Plan, tenant = `t${number % 5}`) => {
      const traceId = `trace-${number++}`
      // A stream that the gateway gives up has had a token: grpc-js sends no reset for one it cancels before it began.
      const count = Math.floor(random() * 40) + (plan === "hang" || plan === "cancel" ? 1 : 0)
      const call = lab.gateway.call({
        requests: [request({ traceId, tenant, playerId: "p" })],
        metadata: [["x-tokens", String(count)], ["x-plan", plan]]
      })
      received.set(traceId, count)
      outcomes.set(traceId, outcomeOf[plan])
      return { call, delivered: call.messages.count(count, traceId) }
    }
    const stream = async (plan: Plan, tenant?: string): Promise<void> => {
      const { call, delivered } = begin(plan, tenant)
      if (plan === "cancel") {
        await delivered
        call.cancel()
      }
      await call.status
    }
    /** A stream with a token, so that it is not sent again, and without an end. */
    const hang = () => {
      const { call, delivered } = begin("hang")
      return { delivered, ended: call.status }
    }
    const many = async (streams: number, plan: () => Plan): Promise<void> => {
      let left = streams
      await Promise.all(Array.from({ length: 32 }, async () => {
        while (left-- > 0) await stream(plan())
      }))
    }

    for (let round = 0; round < 4; round++) {
      lab.worker.serveWith(serve)
      await many(500, () => {
        const draw = random()
        return draw < 0.1 ? "cancel" : draw < 0.2 ? "fail" : "complete"
      })
      const hanging = Array.from({ length: 10 }, () => hang())
      await Promise.all(hanging.map(({ delivered }) => delivered))
      await lab.worker.kill()
      await Promise.all(hanging.map(({ ended }) => ended))
      await lab.startWorker()
      await lab.sidecar.connected()
    }
    lab.worker.serveWith(serve)
    await stream("complete", "poison")
    expect(received.size).toBe(2041)

    // Not before an answer was lost on its way: then a batch has come twice.
    await billing.until(() => billing.repeated > 0)
    healed = true
    const good = [...received].filter(([trace]) => trace !== "trace-2040")
    await billing.until(() => billing.accepted.size === good.length)
    const figures = await lab.sidecar.figures(
      "one record is set aside and none waits",
      (seen) =>
        seen.get("sidecar_usage_records{state=\"set_aside\"}") === 1
        && seen.get("sidecar_usage_records{state=\"waiting\"}") === 0
    )

    const byTrace = new Map([...billing.accepted.values()].map((record) => [record.trace_id, record]))
    expect(byTrace.size).toBe(good.length)
    for (const [trace, count] of good) {
      expect([trace, byTrace.get(trace)?.tokens_generated, byTrace.get(trace)?.outcome])
        .toEqual([trace, count, outcomes.get(trace)])
    }
    expect(billing.tokens).toBe(good.reduce((sum, [, count]) => sum + count, 0))

    const bodies = new Map<string, string>()
    for (const { batchId, body, key } of billing.reports.all) {
      expect(key).toBe(batchId)
      expect(bodies.get(batchId) ?? body).toBe(body)
      bodies.set(batchId, body)
    }
    expect(billing.repeated).toBeGreaterThan(0)
    const token = (state: string) => figures.get(`sidecar_usage_tokens{state="${state}"}`)
    expect(token("delivered")).toBe(token("acknowledged") + token("waiting") + token("set_aside"))
    expect(token("delivered")).toBe([...received.values()].reduce((sum, count) => sum + count, 0))
    expect(figures.get("sidecar_tokens_processed_total")).toBe(token("delivered"))
  })

  it("is billed by its chunks when the worker says counts that none can mean, and so is everybody else's", async () => {
    const { billing, lab } = await openBilled()
    lab.worker.serveWith((call) => {
      call.send(...tokens(2), endOfStream(2))
      call.end(0, "", call.headers["x-absurd"] === undefined ? [] : [["cy-completion-tokens", "999999999999999"]])
    })
    for (let index = 0; index < 30; index++) {
      const call = lab.gateway.call({
        requests: [request({ traceId: `trace-${index}` })],
        metadata: index < 15 ? [["x-absurd", "1"]] : []
      })
      expect((await call.status).code).toBe(0)
    }
    await billing.until(() => billing.accepted.size === 30)
    for (const record of billing.accepted.values()) {
      expect([record.tokens_generated, record.token_source]).toEqual([2, "chunk"])
    }
    const figures = await lab.sidecar.figures(
      "everything is acknowledged",
      (seen) => seen.get("sidecar_usage_tokens{state=\"acknowledged\"}") === 60
    )
    expect(figures.get("sidecar_usage_suspect_total{reason=\"completion_tokens\"}")).toBe(15)
    expect(figures.get("sidecar_usage_tokens{state=\"delivered\"}")).toBe(60)
  })

  it("is reported once more before the sidecar stops", async () => {
    const { billing, lab } = await openBilled({ env: { SIDECAR_BATCH_INTERVAL_SECS: "3600" } })
    lab.worker.serveWith(serve)
    const call = lab.gateway.call({
      requests: [request({ traceId: "last" })],
      metadata: [["x-tokens", "7"], ["x-plan", "complete"]]
    })
    expect((await call.status).code).toBe(0)
    expect(billing.accepted.size).toBe(0)
    lab.sidecar.signal("SIGTERM")
    expect((await lab.sidecar.exited).code).toBe(0)
    expect([...billing.accepted.values()].map(({ tokens_generated, trace_id }) => [trace_id, tokens_generated]))
      .toEqual([["last", 7]])
  })
})
