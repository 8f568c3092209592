import { gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { collect, PREDICT, reasonOf, trailer } from "../support/gateway.ts"
import { moved, useLab } from "../support/lab.ts"
import { endOfStream, frame, request, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"
import type { WorkerSideCall } from "../support/testWorker.ts"

describe.each(wires)("how a stream ends, on the %s wire", (wire) => {
  // The circuit breaker has its own tests, and how long to wait after a broken link is not the matter here.
  const lab = useLab({
    wire,
    engine: "http2",
    env: { SIDECAR_TRIP_AFTER: "1000", SIDECAR_RECONNECT_DELAY_SECS: "0.05" }
  })

  /** A stream that every worker call of it (there may be a replay) ends in the same way. */
  const ended = async (end: (served: WorkerSideCall) => void) => {
    lab().worker.serveWith(end)
    try {
      return await collect(lab().rawGateway().call({ requests: [request()] }))
    } finally {
      lab().worker.serveWith(undefined)
    }
  }

  /** A stream that ends so after `count` tokens have reached the gateway. */
  const broken = async (count: number, end: (served: WorkerSideCall) => void) => {
    const before = await lab().sidecar.metrics()
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(count))
    await call.messages.count(count, "tokens")
    end(served)
    const { messages, status } = await collect(call)
    expect(messages.slice(0, count)).toEqual(tokens(count))
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_total")).toBe(1)
    return { messages, status, before, after }
  }

  it("is never OK without end_of_stream", async () => {
    const { after, before, status } = await broken(3, (served) => served.end())
    expect(status.code).toBe(15)
    expect(trailer(status, "cy-reason")).toBe("truncated")
    expect(trailer(status, "cy-chunks-delivered")).toBe("3")
    expect(moved(before, after, "sidecar_requests_failed_total")).toBe(1)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(3)
  })

  it("is never OK without any message", async () => {
    const { status } = await ended((served) => served.end())
    expect(status.code).toBe(15)
    expect(trailer(status, "cy-reason")).toBe("empty_stream")
    expect(trailer(status, "cy-chunks-delivered")).toBe("0")
  })

  it("is OK when the link breaks after the end_of_stream message", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(3), endOfStream(3))
    await call.messages.count(4, "the answer")
    served.destroyConnection()
    expect(await call.status).toMatchObject({ code: 0 })
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_success_total")).toBe(1)
    await lab().sidecar.connected()
  })

  it("is OK when the worker resets the stream after the end_of_stream message", async () => {
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(1), endOfStream(1))
    await call.messages.count(2, "the answer")
    served.reset(2)
    expect(await call.status).toMatchObject({ code: 0 })
  })

  it.each([1, 2, 5, 7, 8, 11, 13])("is UNAVAILABLE when the worker resets it with %i in mid-stream", async (code) => {
    const { after, before, messages, status } = await broken(4, (served) => served.reset(code))
    expect(messages).toEqual(tokens(4))
    expect(status.code).toBe(14)
    expect(trailer(status, "cy-reason")).toBe("worker_lost")
    expect(trailer(status, "cy-chunks-delivered")).toBe("4")
    expect(trailer(status, "cy-safe-to-retry")).toBe("false")
    expect(moved(before, after, "sidecar_requests_failed_total")).toBe(1)
    expect((await lab().sidecar.ready()).status).toBe(200)
  })

  it("is UNAVAILABLE when the worker's connection ends in good order in mid-stream", async () => {
    const { status } = await broken(2, (served) => served.finishConnection())
    expect([status.code, reasonOf(status)]).toEqual([14, "worker_lost"])
    expect(trailer(status, "cy-chunks-delivered")).toBe("2")
    await lab().sidecar.connected()
  })

  it("lets a running stream end after the worker has said GOAWAY, and serves the next one", async () => {
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    const links = lab().worker.connections.all.length
    served.goaway(0)
    await lab().worker.connections.count(links + 1, "a new connection")
    await lab().sidecar.connected()
    const next = lab().rawGateway().call({ requests: [request()] })
    const another = await lab().worker.nextCall()
    another.answer(2)
    expect((await collect(next)).status.code).toBe(0)
    served.send(...tokens(1, 1), endOfStream(2))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
    expect(call.messages.all).toEqual([...tokens(2), endOfStream(2)])
  })

  it("is no success when the worker ends inside a message", async () => {
    const { messages, status } = await broken(2, (served) => {
      served.data(frame(Buffer.alloc(100)).subarray(0, 50))
      served.end()
    })
    expect(messages).toEqual(tokens(2))
    expect([[13, undefined], [15, "truncated"]]).toContainEqual([status.code, reasonOf(status)])
  })

  it.each([
    ["400", 13],
    ["401", 16],
    ["403", 7],
    ["404", 12],
    ["429", 14],
    ["500", 2],
    ["502", 14],
    ["503", 14],
    ["504", 14]
  ])("maps a worker's HTTP %s without a grpc-status to %i", async (http, code) => {
    const { status } = await ended((served) => served.respond({ ":status": http, "content-type": "text/html" }, true))
    expect([status.code, reasonOf(status)]).toEqual([code, undefined])
    expect(status.trailersOnly).toBe(true)
  })

  it.each(["abc", "99", "-1", ""])("is UNKNOWN for the grpc-status \"%s\"", async (raw) => {
    const { status } = await broken(1, (served) => served.trailers({ "grpc-status": raw }))
    // grpc-js reads an empty one as OK, and OK without end_of_stream is DATA_LOSS.
    expect([status.code, reasonOf(status)])
      .toEqual(wire === "grpc-js" && raw === "" ? [15, "truncated"] : [2, undefined])
  })

  it("carries messages that come byte by byte", async () => {
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    const answer = [...tokens(4), Buffer.alloc(0), endOfStream(5)]
    for (const byte of Buffer.concat(answer.map((message) => frame(message)))) served.data(Buffer.from([byte]))
    served.end()
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual(answer)
  })

  it("carries requests that come byte by byte", async () => {
    const asked = [request(), request({ prompt: "再来" })]
    const call = lab().rawGateway().call({ halfClose: false })
    for (const byte of Buffer.concat(asked.map((message) => frame(message)))) call.write(Buffer.from([byte]))
    call.halfClose()
    const served = await lab().worker.nextCall()
    await served.halfClosed.promise
    expect(served.requests.all).toEqual(asked)
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("carries an answer through a window of one byte", async () => {
    const gateway = lab().rawGateway(1)
    const call = gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.answer(20)
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual([...tokens(20), endOfStream(20)])
  })

  it("carries an answer whose window is opened in mid-stream", async () => {
    const gateway = lab().rawGateway(10)
    const call = gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(50))
    await call.messages.count(5, "tokens through the small window")
    gateway.session.settings({ initialWindowSize: 100_000 })
    served.send(...tokens(50, 50), endOfStream(100))
    served.end()
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual([...tokens(100), endOfStream(100)])
  })

  it("carries compressed messages so that the gateway's library can open them, and counts them", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.respond({ ":status": "200", "content-type": "application/grpc", "grpc-encoding": "gzip" })
    served.data(Buffer.concat([...tokens(3), endOfStream(3)].map((message) => frame(gzipSync(message), 1))))
    served.end()
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual([...tokens(3), endOfStream(3)])
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(3)
  })

  it("serves the worker's path and no other", async () => {
    const call = lab().rawGateway().call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    expect(served.path).toBe(PREDICT)
    expect(served.headers["content-type"]).toMatch(/^application\/grpc/)
    expect(served.headers["te"]).toBe("trailers")
    served.answer(1)
    await call.status
  })
})
