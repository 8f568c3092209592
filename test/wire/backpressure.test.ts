import { describe, expect, it } from "vitest"
import { reasonOf, trailer } from "../support/gateway.ts"
import type { RawCall } from "../support/http2Gateway.ts"
import { expectBalanced, openLab } from "../support/lab.ts"
import { endOfStream, request, token, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

const MiB = 1024 * 1024

/** A reader that takes `bytes` each `millis`, as long as the call runs. */
const readSlowly = async (call: RawCall, bytes: number, millis: number): Promise<void> => {
  const timer = setInterval(() => call.read(bytes), millis)
  try {
    await call.status
  } finally {
    clearInterval(timer)
  }
}

describe.each(wires)("a gateway that stops reading, on the %s wire", (wire) => {
  it("can still cancel, and the worker learns of it", async () => {
    const lab = await openLab({ wire })
    const call = lab.rawGateway(1000).call({ requests: [request()], reading: false })
    const served = await lab.worker.nextCall()
    served.burst(token(1, "x".repeat(1000)), 10_000)
    await served.burstStalled.promise
    call.cancel()
    await served.cancelled.promise
    expectBalanced(await lab.sidecar.settled())
  })

  it("leaves its neighbours on the same connection alone", async () => {
    const lab = await openLab({ wire })
    const gateway = lab.rawGateway(1000)
    gateway.call({ metadata: [["x-who", "stalled"]], requests: [request()], reading: false })
    const stalled = await lab.worker.callWith("x-who", "stalled")
    stalled.burst(token(1, "x".repeat(1000)), 10_000)
    await stalled.burstStalled.promise
    const call = gateway.call({ metadata: [["x-who", "reader"]], requests: [request()] })
    const served = await lab.worker.callWith("x-who", "reader")
    served.answer(500)
    expect((await call.status).code).toBe(0)
    expect(call.messages.all).toEqual([...tokens(500), endOfStream(500)])
  })
})

// From here on only our own wire: grpc-js discards received messages once a non-OK status is known, and its server
// cannot end a stream whose reader has stopped (its trailers queue behind flow-controlled data).
describe("a slow gateway on the http2 wire", () => {
  it.each(
    [
      ["grpc-js", 0, 30],
      ["http2", 0, 30],
      ["grpc-js", 1000, 1030],
      ["http2", 1000, 1030]
    ] as const
  )(
    "gets 500 tokens and then RESOURCE_EXHAUSTED, reading one a millisecond (worker on %s, %i bytes of text each)",
    async (engine, text, bytes) => {
      const lab = await openLab({ engine })
      const call = lab.rawGateway(64).call({ requests: [request()], reading: false })
      const served = await lab.worker.nextCall()
      const answer = Array.from({ length: 500 }, (_, at) => token(at, `词${"x".repeat(text)}`))
      served.send(...answer)
      served.end(8, "显存不足", [["x-why", "oom"]])
      await readSlowly(call, bytes, 1)
      const status = await call.status
      expect(call.messages.all).toEqual(answer)
      expect(status).toMatchObject({ code: 8, message: "显存不足" })
      expect(reasonOf(status)).toBeUndefined()
      expect(trailer(status, "x-why")).toBe("oom")
      const figures = await lab.sidecar.settled()
      expectBalanced(figures)
      expect(figures.get("sidecar_tokens_processed_total")).toBe(500)
    }
  )

  it("gets all that came before its worker was killed, then UNAVAILABLE", async () => {
    const lab = await openLab({})
    const call = lab.rawGateway(64).call({ requests: [request()], reading: false })
    const served = await lab.worker.nextCall()
    served.send(...tokens(100))
    // The counter shows that the sidecar has them.
    await lab.sidecar.figures(
      "100 tokens at the sidecar",
      (figures) => figures.get("sidecar_tokens_processed_total") === 100
    )
    await lab.worker.kill()
    await lab.sidecar.connected(false)
    await readSlowly(call, 30, 1)
    expect(call.messages.all).toEqual(tokens(100))
    const status = await call.status
    expect(status).toMatchObject({ code: 14, message: "Worker connection lost after 100 tokens" })
    expect(reasonOf(status)).toBe("worker_lost")
    expect(trailer(status, "cy-chunks-delivered")).toBe("100")
  })
})

describe("a gateway that has stopped reading, on the http2 wire", () => {
  const stall = async (lab: Awaited<ReturnType<typeof openLab>>, timeoutMillis?: number) => {
    const call = lab.rawGateway(1000).call({
      requests: [request()],
      reading: false,
      ...(timeoutMillis === undefined ? {} : { timeoutMillis })
    })
    const served = await lab.worker.nextCall()
    served.burst(token(1, "x".repeat(1000)), 10_000)
    return { call, served }
  }

  it("is ended at the worker by its own deadline", async () => {
    const lab = await openLab({})
    const { call, served } = await stall(lab, 300)
    await served.cancelled.promise
    const figures = await lab.sidecar.settled()
    expectBalanced(figures)
    expect(figures.get("sidecar_requests_success_total")).toBe(0)
    call.readAll()
    // RST_STREAM CANCEL, or the status itself where it could still leave.
    const status = await call.status
    expect([[1, undefined], [4, "deadline"]]).toContainEqual([status.code, reasonOf(status)])
  })

  it("is ended at the worker after slow_reader_timeout_secs", async () => {
    const lab = await openLab({ env: { SIDECAR_SLOW_READER_TIMEOUT_SECS: "0.3" } })
    const { call, served } = await stall(lab)
    await served.cancelled.promise
    expectBalanced(await lab.sidecar.settled())
    call.readAll()
    const status = await call.status
    expect(status.code).toBe(1)
    expect([undefined, "slow_reader"]).toContain(reasonOf(status))
    const { text } = await lab.sidecar.metrics()
    expect(text).toMatch(/^sidecar_\w+\{outcome="slow_reader"\} 1$/m)
  })

  it("is not taken for stopped while it reads a little at a time", async () => {
    const lab = await openLab({ env: { SIDECAR_SLOW_READER_TIMEOUT_SECS: "1" } })
    const call = lab.rawGateway(1000).call({ requests: [request()], reading: false })
    const served = await lab.worker.nextCall()
    const messages = Array.from({ length: 60 }, (_, at) => token(at, "x".repeat(1000)))
    served.send(...messages, endOfStream(60))
    served.end()
    await readSlowly(call, 1000, 50)
    expect((await call.status).code).toBe(0)
    expect(call.messages.all).toEqual([...messages, endOfStream(60)])
  })

  it("cannot hold up the drain beyond its limit", async () => {
    const lab = await openLab({ env: { SIDECAR_DRAIN_TIMEOUT_SECS: "0.3" } })
    const { served } = await stall(lab)
    await served.burstStalled.promise
    lab.sidecar.signal("SIGTERM")
    await served.cancelled.promise
    expect(await lab.sidecar.exited).toEqual({ code: 0, signal: null })
  })

  it("leaves nothing behind: a hundred of them end by their deadlines, and the next stream is served", async () => {
    const lab = await openLab({})
    const gateway = lab.rawGateway(1000)
    const calls = Array.from(
      { length: 100 },
      () => gateway.call({ requests: [request()], reading: false, timeoutMillis: 1000 })
    )
    const atWorker = await Promise.all(calls.map(() => lab.worker.nextCall()))
    for (const served of atWorker) served.burst(token(1, "x".repeat(1000)), 1000)
    await Promise.all(atWorker.map((served) => served.cancelled.promise))
    for (const call of calls) call.readAll()
    await Promise.all(calls.map((call) => call.closed))
    expectBalanced(await lab.sidecar.settled())
    const call = gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.answer(1)
    expect((await call.status).code).toBe(0)
  })
})

describe.each(wires)(
  "a request of 2 MiB that finds a place at the worker just when it comes, on the %s wire",
  (wire) => {
    it("is read on to its half-close", async () => {
      const lab = await openLab({ wire, env: { SIDECAR_MAX_WORKER_STREAMS: "1" } })
      const first = lab.gateway.call({ requests: [request()] })
      const serving = await lab.worker.nextCall()
      await serving.request()
      const late = lab.gateway.call({ requests: [], halfClose: false })
      await lab.sidecar.figures("two streams", (figures) => figures.get("sidecar_active_connections") === 2)
      serving.answer(1)
      expect((await first.status).code).toBe(0)
      const asked = request({ prompt: "x".repeat(2 * MiB) })
      late.send(asked)
      late.halfClose()
      const served = await lab.worker.nextCall()
      expect(await served.request()).toEqual(asked)
      await served.halfClosed.promise
      served.answer(1)
      expect((await late.status).code).toBe(0)
      expectBalanced(await lab.sidecar.settled())
    })
  }
)
