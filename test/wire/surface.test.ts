import * as grpc from "@grpc/grpc-js"
import { GrpcReflection } from "grpc-js-reflection-client"
import { connect } from "node:http2"
import { describe, expect, it } from "vitest"
import { collect, detailsOf, reasonOf, trailer } from "../support/gateway.ts"
import { moved, openLab, useLab } from "../support/lab.ts"
import { control, controlOf, field, fieldsOf, healthOf, request, tokens, unknownField } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

const CONTROL = "/cy.llm.AiInference/Control"
const HEALTH = "/cy.llm.AiInference/Health"

const SERVING = 1
const NOT_SERVING = 2

const checkRequest = (service: string): Buffer => service === "" ? Buffer.alloc(0) : field.string(1, service)
const stateOf = (message: Uint8Array): number => Number(fieldsOf(message).get(1)?.[0] ?? 0)

describe.each(wires)("the sidecar's services on the %s wire", (wire) => {
  const lab = useLab({ wire })

  describe.each(["v1", "v1alpha"])("reflection %s", (version) => {
    const client = () => new GrpcReflection(lab().sidecar.address, grpc.credentials.createInsecure(), {}, version)

    it("lists the services", async () => {
      const services = await client().listServices()
      expect(services).toEqual(
        expect.arrayContaining(["cy.llm.AiInference", "cy.llm.AiTraining", "grpc.health.v1.Health"])
      )
    })

    it("describes StreamPredictRequest", async () => {
      const descriptor = await client().getDescriptorBySymbol("cy.llm.StreamPredictRequest")
      const type = descriptor.getProtobufJsRoot().lookupType("cy.llm.StreamPredictRequest")
      expect(Object.fromEntries(Object.values(type.fields).map((known) => [known.name, known.id]))).toMatchObject({
        model_id: 1,
        prompt: 2,
        adapter: 3,
        priority: 4,
        generation: 5,
        metadata: 6,
        worker_hint: 7
      })
    })

    it("lists the methods of AiInference", async () => {
      const methods = await client().listMethods("cy.llm.AiInference")
      expect(methods.map((method) => method.name).sort()).toEqual(["Control", "Health", "StreamPredict"])
    })

    it("says of an unknown symbol that it is unknown, and goes on", async () => {
      await expect(client().getDescriptorBySymbol("cy.llm.Nothing")).rejects.toThrow()
      expect(await client().listServices()).toContain("cy.llm.AiInference")
    })
  })

  it("carries a Control command that is not its own to the worker, byte for byte", async () => {
    const asked = Buffer.concat([control("ping", { a: "1" }), unknownField])
    const answer = Buffer.concat([control("ping_response", { status: "ok" }), unknownField])
    const call = lab().gateway.call({ path: CONTROL, metadata: [["authorization", "Bearer x"]], requests: [asked] })
    const served = await lab().worker.nextCall(CONTROL)
    expect(served.headers["authorization"]).toBe("Bearer x")
    expect(await served.request()).toEqual(asked)
    await served.halfClosed.promise
    served.send(answer)
    served.end(0, "", [["x-took", "3"]])
    const { messages, status } = await collect(call)
    expect(messages).toEqual([answer])
    expect(status.code).toBe(0)
    expect(trailer(status, "x-took")).toBe("3")
  })

  it("carries the worker's refusal of a Control command", async () => {
    const call = lab().gateway.call({ path: CONTROL, requests: [control("ping")] })
    const served = await lab().worker.nextCall(CONTROL)
    served.end(16, "bad token")
    expect(await call.status).toMatchObject({ code: 16, message: "bad token" })
  })

  it("answers sidecar.status itself", async () => {
    const { messages, status } = await collect(
      lab().gateway.call({ path: CONTROL, requests: [control("sidecar.status")] })
    )
    expect(status.code).toBe(0)
    expect(controlOf(messages[0]!)).toMatchObject({
      traceId: "t-1",
      command: "sidecar.status_response",
      payload: { status: "ok", worker_state: "Connected" }
    })
    expect(lab().worker.untaken).toEqual([])
  })

  it("says of an unknown sidecar command that it is unknown", async () => {
    const { messages } = await collect(lab().gateway.call({ path: CONTROL, requests: [control("sidecar.dance")] }))
    expect(controlOf(messages[0]!)).toMatchObject({ command: "sidecar.dance_response", payload: { status: "error" } })
  })

  it("answers Health with the worker's own answer and the sidecar's figures", async () => {
    lab().worker.setHealth({ kind: "answer", healthy: true, metrics: { backend: "vllm", cuda_available: "true" } })
    const { messages, status } = await collect(lab().gateway.call({ path: HEALTH, requests: [field.string(1, "t")] }))
    expect(status.code).toBe(0)
    const answer = healthOf(messages[0]!)
    expect(answer).toMatchObject({ healthy: true, metrics: { backend: "vllm", cuda_available: "true" } })
    expect(Object.keys(answer.metrics).some((key) => key.startsWith("sidecar_"))).toBe(true)
  })

  it("carries AiTraining: a stream of progress, and a unary call", async () => {
    const path = "/cy.llm.AiTraining/StartTraining"
    const call = lab().gateway.call({ path, requests: [field.string(1, "job-1")] })
    const served = await lab().worker.nextCall(path)
    expect(await served.request()).toEqual(field.string(1, "job-1"))
    const progress = Array.from(
      { length: 20 },
      (_, at) => Buffer.concat([field.string(1, "job-1"), field.varint(3, at + 1)])
    )
    served.send(...progress)
    served.end()
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual(progress)

    const list = "/cy.llm.AiTraining/ListTrainingJobs"
    const unary = lab().gateway.call({ path: list, requests: [Buffer.alloc(0)] })
    const atWorker = await lab().worker.nextCall(list)
    atWorker.send(unknownField)
    atWorker.end()
    expect(await collect(unary)).toMatchObject({ messages: [unknownField], status: { code: 0 } })
  })

  it("carries a method that it does not know, and counts no stream and no token for it", async () => {
    const before = await lab().sidecar.metrics()
    const path = "/cy.llm.AiFuture/Invent"
    const call = lab().gateway.call({ path, requests: [request(), unknownField], metadata: [["x-a", "b"]] })
    const served = await lab().worker.nextCall(path)
    await served.halfClosed.promise
    expect(served.requests.all).toEqual([request(), unknownField])
    expect(served.headers["x-a"]).toBe("b")
    served.send(...tokens(5))
    served.end(11, "out of range")
    const { messages, status } = await collect(call)
    expect(messages).toEqual(tokens(5))
    expect(status).toMatchObject({ code: 11, message: "out of range" })
    expect(reasonOf(status)).toBeUndefined()
    const after = await lab().sidecar.metrics()
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(0)
    expect(moved(before, after, "sidecar_requests_total")).toBe(0)
  })

  it("passes on that the worker does not know a method", async () => {
    const call = lab().gateway.call({ path: "/cy.llm.Nowhere/Nothing", requests: [request()] })
    expect((await call.status).code).toBe(12)
  })

  it("is SERVING for each service while there is a worker, and knows no others", async () => {
    for (const service of ["", "cy.llm.AiInference", "cy.llm.AiTraining"]) {
      const { messages, status } = await collect(
        lab().gateway.call({ path: "/grpc.health.v1.Health/Check", requests: [checkRequest(service)] })
      )
      expect([service, status.code, stateOf(messages[0]!)]).toEqual([service, 0, SERVING])
    }
    const unknown = lab().gateway.call({ path: "/grpc.health.v1.Health/Check", requests: [checkRequest("no.such")] })
    expect((await unknown.status).code).toBe(5)
    const list = await collect(lab().gateway.call({ path: "/grpc.health.v1.Health/List", requests: [Buffer.alloc(0)] }))
    expect(list.status.code).toBe(0)
    expect((fieldsOf(list.messages[0]!).get(1) ?? []).length).toBeGreaterThan(2)
  })

  it("counts each call by its method and code", async () => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()] })
    ;(await lab().worker.nextCall()).end(5, "no such model")
    await call.status
    const after = await lab().sidecar.settled()
    const handled = after.text.split("\n").filter((line) => line.startsWith("sidecar_grpc_handled_total{"))
    expect(handled.some((line) => line.includes("StreamPredict") && line.includes("NOT_FOUND"))).toBe(true)
    expect(moved(before, after, "sidecar_requests_failed_total")).toBe(1)
  })
})

describe.each(wires)("the sidecar's services without a worker, on the %s wire", (wire) => {
  it("follow it: Check, Watch, Health, Control and other methods", async () => {
    const lab = await openLab({ wire })
    const check = async () => {
      const path = "/grpc.health.v1.Health/Check"
      const { messages } = await collect(lab.gateway.call({ path, requests: [Buffer.alloc(0)] }))
      return stateOf(messages[0]!)
    }
    const watch = lab.gateway.call({
      path: "/grpc.health.v1.Health/Watch",
      requests: [checkRequest("cy.llm.AiInference")]
    })
    await watch.messages.count(1, "the first state")
    await lab.worker.kill()
    await watch.messages.count(2, "the state without a worker")
    expect(await check()).toBe(NOT_SERVING)

    const { messages, status } = await collect(lab.gateway.call({ path: HEALTH, requests: [Buffer.alloc(0)] }))
    expect(status.code).toBe(0)
    expect(healthOf(messages[0]!).healthy).toBe(false)
    expect(healthOf(messages[0]!).metrics["reason"]).toBeTruthy()

    for (const path of [CONTROL, "/cy.llm.AiTraining/StartTraining"]) {
      const refused = await lab.gateway.call({ path, requests: [control("ping")] }).status
      expect([path, refused.code, reasonOf(refused)]).toEqual([path, 14, "worker_disconnected"])
      expect(detailsOf(refused)?.retryMillis).toBeGreaterThan(0)
    }
    const own = await collect(lab.gateway.call({ path: CONTROL, requests: [control("sidecar.status")] }))
    expect(controlOf(own.messages[0]!).payload["worker_state"]).toBe("Disconnected")

    await lab.startWorker()
    await watch.messages.count(3, "the state with the worker back")
    expect(await check()).toBe(SERVING)
    expect(watch.messages.all.map(stateOf)).toEqual([SERVING, NOT_SERVING, SERVING])
    watch.cancel()
    expect((await watch.status).code).toBe(1)
  })
})

// How a grpc-js server answers what is no gRPC is its own affair.
describe("what is no gRPC, on the http2 wire", () => {
  const lab = useLab({})

  const ask = (headers: Readonly<Record<string, string>>) =>
    new Promise<number>((resolve, reject) => {
      const session = connect(`http://${lab().sidecar.address}`)
      session.on("error", reject)
      const stream = session.request({ ":path": "/cy.llm.AiInference/StreamPredict", ...headers })
      stream.on("error", reject)
      stream.on("response", (received) => {
        resolve(Number(received[":status"]))
        session.destroy()
      })
      stream.end()
    })

  it("is answered with 405 for another method than POST", async () => {
    expect(await ask({ ":method": "GET" })).toBe(405)
  })

  it("is answered with 415 for another content type", async () => {
    expect(await ask({ ":method": "POST", "content-type": "text/html" })).toBe(415)
  })
})
