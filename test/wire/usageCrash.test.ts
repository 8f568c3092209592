import { performance } from "node:perf_hooks"
import { setTimeout as delay } from "node:timers/promises"
import { afterEach, describe, expect, it } from "vitest"
import { BillingServer } from "../support/billingServer.ts"
import type { GatewayCall } from "../support/gateway.ts"
import { Lab } from "../support/lab.ts"
import { endOfStream, request, token, tokens } from "../support/protobuf.ts"
import { soak } from "../support/run/soak.ts"
import { seeded } from "../support/seeded.ts"
import type { WorkerSideCall } from "../support/testWorker.ts"

const closers: Array<() => Promise<void>> = []
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close()
})

/** Milliseconds between two checkpoints of running streams (docs/design.md §7). */
const checkpoint = 250
/** What "one commit" and the scheduling of a busy machine may add to the age of a count. Milliseconds. */
const allowance = 500

const kills = soak(50, 10)
/** Sidecars side by side, each killed again and again. */
const lanes = 5
/** Streams of each life that end before the kill, and streams that run when it comes. */
const [finished, running] = [4, 4]

/** `x-tokens` tokens and the end, or one token each 10 ms for ever; answers how to stop. */
const serve = (call: WorkerSideCall, sent: Map<string, number>): void => {
  const count = Number(call.headers["x-tokens"])
  if (count > 0) {
    call.send(...tokens(count), endOfStream(count))
    return call.end()
  }
  const id = call.headers["x-id"]!
  const timer = setInterval(() => {
    const at = sent.get(id) ?? 0
    sent.set(id, at + 1)
    call.send(token(at, "词 "))
  }, 10)
  void Promise.race([call.cancelled.promise, call.closed.promise]).then(() => clearInterval(timer))
}

/** How many tokens a gateway had at which time. */
const watch = (call: GatewayCall) => {
  const samples: Array<{ readonly at: number; readonly count: number }> = []
  const timer = setInterval(() => samples.push({ at: performance.now(), count: call.messages.all.length }), 10)
  return {
    stop: () => clearInterval(timer),
    /** Tokens it certainly had so many milliseconds before `end`. */
    before: (end: number, millis: number) => samples.filter(({ at }) => at <= end - millis).at(-1)?.count ?? 0
  }
}

/** What the gateways of one sidecar know after all its lives, and what it has reported. */
const live = async (lane: number) => {
  const billing = await BillingServer.start()
  closers.push(() => billing.close())
  const lab = new Lab({ env: { SIDECAR_RECONNECT_DELAY_SECS: "0.1" } })
  closers.push(() => lab.close())
  const random = seeded(lane)
  const sent = new Map<string, number>()
  const closed = new Map<string, number>()
  const open = new Map<string, { readonly atLeast: number; readonly atMost: number }>()

  await lab.startWorker()
  lab.worker.serveWith((call) => serve(call, sent))
  for (let life = 0; life < kills / lanes; life++) {
    await lab.startSidecar()
    await lab.sidecar.connected()
    const gateway = lab.newGateway()
    const call = (id: string, count: number) =>
      gateway.call({
        requests: [request({ traceId: id, tenant: `t${life % 3}` })],
        metadata: [["x-tokens", String(count)], ["x-id", id]]
      })
    const endless = Array.from({ length: running }, (_, index) => {
      const id = `open-${life}-${index}`
      const made = call(id, 0)
      return { id, made, samples: watch(made) }
    })
    await Promise.all(endless.map(({ id, made }) => made.messages.count(1, id)))
    const ends = Array.from({ length: finished }, async (_, index) => {
      const id = `closed-${life}-${index}`
      const count = 1 + Math.floor(random() * 30)
      await delay(random() * 1200)
      // Only a status that came obliges: then the record was committed before.
      const { code } = await call(id, count).status
      if (code === 0) closed.set(id, count)
    })
    await delay(checkpoint + allowance + random() * 600)
    const killedAt = performance.now()
    lab.sidecar.signal("SIGKILL")
    await lab.sidecar.exited
    await Promise.all(ends)
    for (const { id, samples } of endless) {
      samples.stop()
      open.set(id, { atLeast: samples.before(killedAt, checkpoint + allowance), atMost: sent.get(id) ?? 0 })
    }
    gateway.close()
  }

  await lab.startSidecar({ env: { SIDECAR_BILLING_ENDPOINT: billing.url, SIDECAR_BATCH_INTERVAL_SECS: "0.2" } })
  await lab.sidecar.figures("nothing waits", (figures) =>
    figures.get("sidecar_usage_records{state=\"waiting\"}") === 0
    && figures.get("sidecar_usage_records{state=\"acknowledged\"}") > 0)
  return { billing, closed, open }
}

describe("a sidecar that is killed", () => {
  it(`${kills} times with streams in flight loses no record, and no count older than a checkpoint`, {
    timeout: 600_000
  }, async () => {
    for (const { billing, closed, open } of await Promise.all(Array.from({ length: lanes }, (_, lane) => live(lane)))) {
      const records = new Map([...billing.accepted.values()].map((record) => [record.trace_id, record]))
      expect(records.size).toBe(billing.accepted.size)
      expect(closed.size).toBeGreaterThan(0)
      for (const [id, count] of closed) {
        expect([id, records.get(id)?.outcome, records.get(id)?.tokens_generated]).toEqual([id, "completed", count])
      }
      expect(open.size).toBe(running * kills / lanes)
      expect([...open.values()].filter(({ atLeast }) => atLeast > 0)).not.toEqual([])
      for (const [id, { atLeast, atMost }] of open) {
        const record = records.get(id)
        expect([id, record?.outcome]).toEqual([id, "interrupted"])
        expect(record!.tokens_generated, id).toBeGreaterThanOrEqual(atLeast)
        expect(record!.tokens_generated, id).toBeLessThanOrEqual(atMost)
      }
      const strangers = [...records.keys()].filter((id) => !open.has(id) && !id.startsWith("closed-"))
      expect(strangers).toEqual([])
      expect(new Set([...records.values()].map(({ sidecar_id }) => sidecar_id)).size).toBe(1)
    }
  })
})
