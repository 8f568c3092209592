import { describe, expect, it } from "vitest"
import { collect, detailsOf, reasonOf, trailer } from "../support/gateway.ts"
import { useLab } from "../support/lab.ts"
import { endOfStream, field, request, token, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

const binary = Buffer.from([0, 1, 0x7f, 0x80, 0xff, 0x0d, 0x0a])

describe.each(wires)("metadata on the %s wire", (wire) => {
  const lab = useLab({ wire })

  it("shows the worker the gateway's metadata, binary too, and its authorization", async () => {
    const call = lab().gateway.call({
      metadata: [
        ["authorization", "Bearer s3cret-token"],
        ["x-request-id", "r-1"],
        ["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
        ["x-tag", "one"],
        ["x-tag", "two"],
        ["x-context-bin", binary]
      ],
      requests: [request()]
    })
    const served = await lab().worker.nextCall()
    expect(served.headers).toMatchObject({
      authorization: "Bearer s3cret-token",
      "x-request-id": "r-1",
      "x-tag": "one, two"
    })
    expect(served.headers["traceparent"]).toContain("4bf92f3577b34da6a3ce929d0e0e4736")
    expect(Buffer.from(served.headers["x-context-bin"]!, "base64")).toEqual(binary)
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("tells the worker the time that remains", async () => {
    const call = lab().gateway.call({ timeoutMillis: 20_000, requests: [request()] })
    const served = await lab().worker.nextCall()
    expect(served.timeoutMillis).toBeGreaterThan(10_000)
    expect(served.timeoutMillis).toBeLessThanOrEqual(20_000)
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("tells the worker of no deadline when there is none", async () => {
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    expect(served.timeoutMillis).toBeUndefined()
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("passes the worker's initial metadata on before its first message", async () => {
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.sendHeaders([["x-model-version", "7b"], ["x-part", "a"], ["x-part", "b"], ["x-state-bin", binary]])
    const headers = await call.headers
    expect(call.messages.all).toEqual([])
    expect(headers.get("x-model-version")).toEqual(["7b"])
    expect(headers.get("x-part")?.join(", ")).toBe("a, b")
    expect(headers.get("x-state-bin")).toEqual([binary.toString("base64")])
    served.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  })

  it("sends no headers before the worker has sent something", async () => {
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    await served.request()
    served.end(5, "Model not found: qwen-7b")
    expect(await call.status).toMatchObject({ code: 5, message: "Model not found: qwen-7b", trailersOnly: true })
  })

  it("passes trailers on after an answer, binary ones too", async () => {
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(2), endOfStream(2))
    served.end(0, "", [["x-gpu", "0"], ["x-usage-bin", binary], ["x-note", "a"], ["x-note", "b"]])
    const { status } = await collect(call)
    expect(status.code).toBe(0)
    expect(trailer(status, "x-gpu")).toBe("0")
    expect(trailer(status, "x-usage-bin")).toBe(binary.toString("base64"))
    expect(status.trailers.get("x-note")?.join(", ")).toBe("a, b")
  })

  it("carries a status with a message in any script, its details and trailers", async () => {
    const details = Buffer.concat([
      field.varint(1, 8),
      field.string(2, "显存不足"),
      field.bytes(3, Buffer.concat([field.string(1, "type.test/x"), field.bytes(2, binary)]))
    ])
    const text = "显存不足: 100% of 24 GiB, \"q\"\n\t#tag %zz 🚀"
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...tokens(2))
    await call.messages.count(2, "tokens")
    served.end(8, text, [["grpc-status-details-bin", details], ["x-why", "oom"]])
    const { messages, status } = await collect(call)
    expect(messages).toEqual(tokens(2))
    expect(status).toMatchObject({ code: 8, message: text })
    expect(reasonOf(status)).toBeUndefined()
    expect(trailer(status, "grpc-status-details-bin")).toBe(details.toString("base64"))
    expect(detailsOf(status)).toMatchObject({ code: 8, message: "显存不足" })
    expect(trailer(status, "x-why")).toBe("oom")
  })

  it.each([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])(
    "carries the worker's own status %i",
    async (code) => {
      const call = lab().gateway.call({ requests: [request()] })
      const served = await lab().worker.nextCall()
      served.send(token(0, "x"))
      await call.messages.count(1, "a token")
      served.end(code, `status ${code}`)
      const { status } = await collect(call)
      expect(status).toMatchObject({ code, message: `status ${code}` })
    }
  )

  it("keeps the metadata of concurrent calls apart", async () => {
    const calls = Array.from({ length: 10 }, (_, at) =>
      lab().gateway.call({
        metadata: [["authorization", `Bearer ${at}`], ["x-n", String(at)]],
        requests: [request({ prompt: String(at) })]
      }))
    await Promise.all(calls.map(async (_, at) => {
      const served = await lab().worker.callWith("x-n", String(at))
      expect(served.headers["authorization"]).toBe(`Bearer ${at}`)
      expect(await served.request()).toEqual(request({ prompt: String(at) }))
      served.send(endOfStream(0))
      served.end(0, "", [["x-n", String(at)]])
    }))
    const ends = await Promise.all(calls.map(collect))
    expect(ends.map(({ status }) => trailer(status, "x-n"))).toEqual(calls.map((_, at) => String(at)))
  })
})
