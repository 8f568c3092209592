import { describe, expect, it } from "vitest"
import { expectBooked, openBooks } from "../support/booked.ts"
import { collect, reasonOf } from "../support/gateway.ts"
import { moved, useLab } from "../support/lab.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

describe.each(wires)("a gateway that leaves, on the %s wire", (wire) => {
  const lab = useLab({ wire, env: { SIDECAR_LOG_LEVEL: "debug" } })

  it("cancels at the worker before the first token", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    await served.request()
    call.cancel()
    await served.cancelled.promise
    expect(await call.status).toMatchObject({ code: 1 })
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_cancelled_total")).toBe(1)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(0)
  })

  it("cancels at the worker in mid-stream, without a half-close before", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()], halfClose: false })
    const served = await lab().worker.nextCall()
    served.send(...tokens(5))
    await call.messages.count(5, "tokens")
    call.cancel()
    await served.cancelled.promise
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_total")).toBe(1)
    expect(moved(before, after, "sidecar_requests_cancelled_total")).toBe(1)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(5)
  })

  it("cancels at the worker when the gateway's connection is gone", async () => {
    const gateway = lab().rawGateway()
    const call = gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(3))
    await call.messages.count(3, "tokens")
    gateway.destroy()
    await served.cancelled.promise
    await lab().sidecar.settled()
  })

  it("cancels at the worker when the deadline has passed", async () => {
    const call = lab().gateway.call({ timeoutMillis: 300, requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(2))
    await served.cancelled.promise
    const status = await call.status
    // The gateway's library may have been faster.
    expect([[4, undefined], [4, "deadline"]]).toContainEqual([status.code, reasonOf(status)])
  })

  // grpc-js cancels by itself when its deadline ends: a race of three clocks, ours and the worker's among them.
  it("has missed its deadline thirty times of thirty, in metrics, records and log", async () => {
    const books = await openBooks(lab())
    const calls = Array.from({ length: 30 }, () => lab().gateway.call({ timeoutMillis: 300, requests: [request()] }))
    for (const _ of calls) await (await lab().worker.nextCall()).cancelled.promise
    for (const call of calls) expect((await call.status).code).toBe(4)
    await expectBooked(lab(), books, { count: 30, outcome: "deadline", code: 4, codeName: "DEADLINE_EXCEEDED" })
  })

  it("has cancelled, when it leaves long before its deadline", async () => {
    const books = await openBooks(lab())
    for (let at = 0; at < 5; at++) {
      const call = lab().gateway.call({ timeoutMillis: 30_000, requests: [request()] })
      const served = await lab().worker.nextCall()
      served.send(...tokens(1))
      await call.messages.count(1, "a token")
      call.cancel()
      await served.cancelled.promise
    }
    await expectBooked(lab(), books, { count: 5, outcome: "cancelled", code: 1, codeName: "CANCELLED" })
  })

  it("ends a stream at its deadline by itself, for a gateway that does not", async () => {
    const call = lab().rawGateway().call({ timeoutMillis: 300, requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(2))
    await served.cancelled.promise
    const status = await call.status
    expect(status.code).toBe(4)
    // grpc-js answers a call at its deadline by itself, without our trailers, unless our timer is the first of the two.
    if (wire === "grpc-js") expect([undefined, "deadline"]).toContain(reasonOf(status))
    else expect(reasonOf(status)).toBe("deadline")
    expect(call.messages.all).toEqual(tokens(2))
  })

  it("takes a gateway that stops after end_of_stream for served", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()], halfClose: false })
    const served = await lab().worker.nextCall()
    served.send(...tokens(4), endOfStream(4))
    await call.messages.count(5, "the answer")
    call.cancel()
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_success_total")).toBe(1)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(4)
  })

  it("leaves the neighbours of a cancelled stream alone", async () => {
    const neighbour = lab().gateway.call({ metadata: [["x-who", "neighbour"]], requests: [request()] })
    const steady = await lab().worker.callWith("x-who", "neighbour")
    for (let at = 0; at < 20; at++) {
      const call = lab().gateway.call({ metadata: [["x-who", "leaver"]], requests: [request()] })
      const served = await lab().worker.callWith("x-who", "leaver")
      call.cancel()
      await served.cancelled.promise
      steady.send(...tokens(1, at))
      await neighbour.messages.count(at + 1, "the neighbour's token")
    }
    steady.send(endOfStream(20))
    steady.end()
    expect((await collect(neighbour)).status.code).toBe(0)
  })
})
