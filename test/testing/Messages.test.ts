import { assert, describe, it } from "@effect/vitest"
import * as protoLoader from "@grpc/proto-loader"
import { Messages } from "../../src/testing.ts"

interface Method {
  readonly requestSerialize: (value: object) => Buffer
  readonly requestDeserialize: (bytes: Buffer) => unknown
  readonly responseSerialize: (value: object) => Buffer
  readonly responseDeserialize: (bytes: Buffer) => unknown
}

const definition = protoLoader.loadSync(new URL("../../proto/ai_service.proto", import.meta.url).pathname, {
  keepCase: true,
  defaults: true
})
const service = definition["cy.llm.AiInference"] as unknown as { readonly StreamPredict: Method }
const { StreamPredict } = service

describe("Messages", () => {
  it("writes requests that protobuf reads", () => {
    const bytes = Messages.encodeRequest({
      modelId: "qwen-7b",
      prompt: "你好",
      adapter: "lora",
      priority: -3,
      workerHint: "w1",
      traceId: "t",
      tenant: "acme",
      playerId: "p1",
      locale: "zh-CN",
      extra: { a: "1", b: "" }
    })
    assert.deepInclude(StreamPredict.requestDeserialize(Buffer.from(bytes)), {
      model_id: "qwen-7b",
      prompt: "你好",
      adapter: "lora",
      priority: -3,
      worker_hint: "w1",
      metadata: { trace_id: "t", tenant: "acme", player_id: "p1", locale: "zh-CN", extra: { a: "1", b: "" } }
    })
  })

  it("reads requests that protobuf writes, also with fields that it does not know", () => {
    const bytes = StreamPredict.requestSerialize({
      model_id: "m",
      prompt: "p",
      priority: 7,
      generation: { max_new_tokens: 16, temperature: 0.5 },
      metadata: { trace_id: "t", tenant: "acme", extra: { k: "v" } }
    })
    const request = Messages.decodeRequest(bytes)
    assert.strictEqual(request.modelId, "m")
    assert.strictEqual(request.prompt, "p")
    assert.strictEqual(request.priority, 7)
    assert.strictEqual(request.metadata.traceId, "t")
    assert.strictEqual(request.metadata.tenant, "acme")
    assert.deepStrictEqual(request.metadata.extra, { k: "v" })
  })

  it("writes replies that protobuf reads, and reads its own", () => {
    const reply = { traceId: "t", chunk: "一 token", endOfStream: true, index: 300 }
    const bytes = Messages.encodeReply(reply)
    assert.deepInclude(StreamPredict.responseDeserialize(Buffer.from(bytes)), {
      trace_id: "t",
      chunk: "一 token",
      end_of_stream: true,
      index: 300
    })
    assert.deepStrictEqual(Messages.decodeReply(bytes), reply)
    assert.deepStrictEqual(
      Messages.decodeReply(StreamPredict.responseSerialize({ chunk: "x", ttft_ms: 1.5 })),
      { traceId: "", chunk: "x", endOfStream: false, index: 0 }
    )
  })

  it("frames messages into one batch and takes it apart", () => {
    const messages = [new Uint8Array([1, 2]), new Uint8Array(), new Uint8Array(70_000).fill(7)]
    assert.deepStrictEqual(
      Messages.unframed(Messages.framed(...messages)).map((one) => [...one]),
      messages.map((one) => [...one])
    )
  })
})
