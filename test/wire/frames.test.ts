import { describe, expect, it, onTestFinished } from "vitest"
import { collect } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { useLab } from "../support/lab.ts"
import { endOfStream, field, request, token, tokens, unknownField } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

describe.each(wires)("frames on the %s wire", (wire) => {
  const lab = useLab({ wire })

  it("carries every message byte for byte and in order, with fields that nobody knows, both ways", async () => {
    const asked = request({ prompt: "从前有座山", tenant: "t", playerId: "p", extra: unknownField })
    const call = lab().gateway.call({ requests: [asked] })
    const served = await lab().worker.nextCall()
    expect(await served.request()).toEqual(asked)
    const answer = [
      token(0, "山", { traceId: "trace", extra: unknownField }),
      ...tokens(200, 1),
      // Not in the order of the field numbers, a field twice: a re-encoding would show.
      Buffer.concat([field.varint(4, 201), field.string(2, "first"), field.string(2, "last"), unknownField]),
      token(202, "", { end: true, ttftMillis: 1.5, extra: unknownField })
    ]
    served.send(...answer)
    served.end()
    const { messages, status } = await collect(call)
    expect(messages).toEqual(answer)
    expect(status).toMatchObject({ code: 0, trailersOnly: false })
  })

  it("carries several request messages in order while the answer already runs", async () => {
    const call = lab().gateway.call({ requests: [request({ prompt: "request 0" })], halfClose: false })
    const served = await lab().worker.nextCall()
    for (let at = 0; at < 5; at++) {
      if (at > 0) call.send(request({ prompt: `request ${at}` }))
      await served.requests.count(at + 1, "a request")
      served.send(token(at, `answer ${at}`))
      await call.messages.count(at + 1, "an answer")
    }
    call.send(request({ prompt: "a" }), request({ prompt: "b" }))
    call.halfClose()
    await served.halfClosed.promise
    expect(served.requests.all.slice(5)).toEqual([request({ prompt: "a" }), request({ prompt: "b" })])
    served.send(endOfStream(5))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
  })

  it("passes an early half-close on at once", async () => {
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    await served.halfClosed.promise
    expect(served.requests.all).toEqual([request()])
    served.answer(3)
    expect((await collect(call)).messages).toEqual([...tokens(3), endOfStream(3)])
  })

  it("ends for a gateway that half-closes only after reading the end", async () => {
    const call = lab().gateway.call({ requests: [request()], halfClose: false })
    const served = await lab().worker.nextCall()
    await served.request()
    served.answer(3)
    expect((await collect(call)).status.code).toBe(0)
    expect(call.messages.all).toEqual([...tokens(3), endOfStream(3)])
    call.halfClose()
  })

  it("half-closes at the worker when the gateway does so in mid-stream", async () => {
    const call = lab().gateway.call({ requests: [request()], halfClose: false })
    const served = await lab().worker.nextCall()
    served.send(...tokens(2))
    await call.messages.count(2, "tokens")
    expect(served.halfClosed.settled()).toBe(false)
    call.halfClose()
    await served.halfClosed.promise
    served.send(endOfStream(2))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
  })

  it("lets the worker refuse a stream without a request", async () => {
    const call = lab().gateway.call({ requests: [] })
    const served = await lab().worker.nextCall()
    await served.halfClosed.promise
    expect(served.requests.all).toEqual([])
    served.end(3, "Empty request stream")
    expect(await call.status).toMatchObject({ code: 3, message: "Empty request stream" })
  })

  it("carries empty messages", async () => {
    const call = lab().gateway.call({ requests: [Buffer.alloc(0), request()] })
    const served = await lab().worker.nextCall()
    await served.requests.count(2, "both requests")
    expect(served.requests.all).toEqual([Buffer.alloc(0), request()])
    served.send(Buffer.alloc(0), token(1, "x"), endOfStream(2))
    served.end()
    expect((await collect(call)).messages).toEqual([Buffer.alloc(0), token(1, "x"), endOfStream(2)])
  })

  it("carries a chunk of 8 MiB", async () => {
    const big = token(0, "a".repeat(8 * 1024 * 1024 - 1) + "z")
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(big, token(1, "next"), endOfStream(2))
    served.end()
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages.map((message) => message.length)).toEqual([
      big.length,
      token(1, "next").length,
      endOfStream(2).length
    ])
    expect(messages[0]!.equals(big)).toBe(true)
  })

  it("carries a request of 8 MiB", async () => {
    const big = request({ prompt: "字".repeat(2_800_000) })
    const call = lab().gateway.call({ requests: [big, request()] })
    const served = await lab().worker.nextCall()
    await served.requests.count(2, "both requests")
    expect(served.requests.all[0]!.equals(big)).toBe(true)
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("carries compressed requests so that the worker's library can open them", async () => {
    const gateway = new GrpcJsGateway(lab().sidecar.address, { "grpc.default_compression_algorithm": 2 })
    onTestFinished(() => gateway.close())
    const asked = [request({ prompt: "压缩".repeat(500), extra: unknownField }), request()]
    const call = gateway.call({ requests: asked })
    const served = await lab().worker.nextCall()
    await served.halfClosed.promise
    expect(served.requests.all).toEqual(asked)
    served.answer(2)
    expect(await collect(call)).toMatchObject({ status: { code: 0 }, messages: [...tokens(2), endOfStream(2)] })
  })

  it("keeps many streams on one connection apart", async () => {
    const ids = Array.from({ length: 40 }, (_, at) => `stream-${at}`)
    const calls = ids.map((id) =>
      lab().gateway.call({ metadata: [["x-stream", id]], requests: [request({ prompt: id })] })
    )
    const answers = ids.map((id, at) => Array.from({ length: 10 + at }, (_, index) => token(index, `${id}/${index}`)))
    await Promise.all(ids.map(async (id, at) => {
      const served = await lab().worker.callWith("x-stream", id)
      expect(await served.request()).toEqual(request({ prompt: id }))
      served.send(...answers[at]!, endOfStream(10 + at))
      served.end()
    }))
    const ends = await Promise.all(calls.map(collect))
    ends.forEach(({ messages, status }, at) => {
      expect(status.code).toBe(0)
      expect(messages).toEqual([...answers[at]!, endOfStream(10 + at)])
    })
  })
})
