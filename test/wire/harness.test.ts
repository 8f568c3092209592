import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { Inbox } from "../support/events.ts"
import { collect, detailsOf, type GatewayCall, trailer } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { Http2Gateway } from "../support/http2Gateway.ts"
import { endOfStream, field, request, tokens } from "../support/protobuf.ts"
import { TestWorker } from "../support/testWorker.ts"
import type { WorkerEngine } from "../support/workerProtocol.ts"

// The tests' own worker and gateways, without a sidecar between them: what the wire tests see comes from the sidecar.

const engines: ReadonlyArray<WorkerEngine> = ["grpc-js", "http2"]
const gateways = { "grpc-js": GrpcJsGateway, http2: Http2Gateway }

describe.each(engines)("a worker on %s", (engine) => {
  const start = async (): Promise<TestWorker> => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
    const worker = await TestWorker.start(path.join(folder, "worker.sock"), engine)
    onTestFinished(async () => {
      await worker.kill()
      fs.rmSync(folder, { recursive: true })
    })
    return worker
  }

  describe.each(["grpc-js", "http2"] as const)("with a gateway on %s", (client) => {
    const connect = (worker: TestWorker) => {
      const gateway = new gateways[client](`unix://${worker.socketPath}`)
      onTestFinished(() => gateway.close())
      return gateway
    }

    it("answers with the messages, metadata and status that the test says", async () => {
      const worker = await start()
      const call: GatewayCall = connect(worker).call({
        metadata: [["authorization", "Bearer x"], ["trace-bin", Buffer.from([0, 255])]],
        timeoutMillis: 30_000,
        requests: [request({ prompt: "a" }), request({ prompt: "b" })]
      })
      const served = await worker.nextCall()
      await served.halfClosed.promise
      expect(served.requests.all).toEqual([request({ prompt: "a" }), request({ prompt: "b" })])
      expect(served.headers["authorization"]).toBe("Bearer x")
      expect(Buffer.from(served.headers["trace-bin"]!, "base64")).toEqual(Buffer.from([0, 255]))
      expect(served.timeoutMillis).toBeGreaterThan(20_000)
      expect(served.timeoutMillis).toBeLessThanOrEqual(30_000)
      served.sendHeaders([["x-model", "qwen"]])
      expect((await call.headers).get("x-model")).toEqual(["qwen"])
      served.send(...tokens(3), endOfStream(3))
      await call.messages.count(4, "the answer")
      const details = Buffer.concat([field.varint(1, 8), field.string(2, "满了")])
      served.end(8, "满了 100% \n", [["x-why", "full"], ["grpc-status-details-bin", details]])
      const { messages, status } = await collect(call)
      expect(messages).toEqual([...tokens(3), endOfStream(3)])
      expect(status).toMatchObject({ code: 8, message: "满了 100% \n", trailersOnly: false })
      expect(trailer(status, "x-why")).toBe("full")
      expect(detailsOf(status)).toMatchObject({ code: 8, message: "满了" })
    })

    it("ends without a message as Trailers-Only", async () => {
      const worker = await start()
      const call = connect(worker).call({ requests: [request()] })
      const served = await worker.nextCall()
      served.end(5, "no model")
      expect(await call.status).toMatchObject({ code: 5, message: "no model", trailersOnly: true })
    })

    it("tells the test of a cancel", async () => {
      const worker = await start()
      const call = connect(worker).call({ requests: [request()] })
      const served = await worker.nextCall()
      served.send(...tokens(1))
      await call.messages.count(1, "a token")
      call.cancel()
      await served.cancelled.promise
      expect(await call.status).toMatchObject({ code: 1 })
    })

    it("dies in mid-stream", async () => {
      const worker = await start()
      const call = connect(worker).call({ requests: [request()] })
      const served = await worker.nextCall()
      served.send(...tokens(2))
      await call.messages.count(2, "tokens")
      await worker.kill()
      const { messages, status } = await collect(call)
      expect(messages).toEqual(tokens(2))
      expect([1, 13, 14]).toContain(status.code)
      expect(fs.existsSync(worker.socketPath)).toBe(true)
    })
  })
})

describe("a test that failed", () => {
  it("takes no call of the next one", async () => {
    const inbox = new Inbox<string>()
    inbox.offer("left by the first")
    const waiting = inbox.take((item) => item !== "left by the first")
    inbox.forget()
    await expect(waiting).rejects.toThrow("the test is over")
    const next = inbox.take()
    inbox.offer("of the next")
    expect(await next).toBe("of the next")
  })
})

describe("a gateway on bare HTTP/2", () => {
  it("sends header fields that libraries refuse, and the worker's library lets them in", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
    const worker = await TestWorker.start(path.join(folder, "worker.sock"), "grpc-js")
    const gateway = new Http2Gateway(`unix://${worker.socketPath}`)
    onTestFinished(async () => {
      await gateway.close()
      await worker.kill()
      fs.rmSync(folder, { recursive: true })
    })
    const call = gateway.call({ requests: [request()], poison: [["http2-settings", "x"]] })
    const served = await worker.nextCall()
    expect(served.headers["http2-settings"]).toBe("x")
    served.answer(1)
    expect(await call.status).toMatchObject({ code: 0 })
  })

  it("takes nothing while the test does not read", async () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
    const worker = await TestWorker.start(path.join(folder, "worker.sock"), "http2")
    const gateway = new Http2Gateway(`unix://${worker.socketPath}`, 1000)
    onTestFinished(async () => {
      await gateway.close()
      await worker.kill()
      fs.rmSync(folder, { recursive: true })
    })
    const call = gateway.call({ requests: [request()], reading: false })
    const served = await worker.nextCall()
    served.burst(Buffer.alloc(1000), 500)
    await call.headers
    expect(served.burstDone.settled()).toBe(false)
    call.readAll()
    await call.messages.count(500, "the burst")
    await served.burstDone.promise
    served.end()
    expect(await call.status).toMatchObject({ code: 0 })
  })
})
