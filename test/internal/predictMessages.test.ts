import { assert, it } from "@effect/vitest"
import { loadSync } from "@grpc/proto-loader"
import { fileURLToPath } from "node:url"
import {
  decodePredictReply,
  decodePredictRequest,
  encodePredictRequest
} from "../../src/internal/inProcess/predictMessages.ts"
import { PredictReply, PredictRequest } from "../../src/services/LlmClient.ts"

const proto = loadSync(fileURLToPath(new URL("../../proto/ai_service.proto", import.meta.url)), {
  keepCase: true,
  defaults: true
})
const service = proto["cy.llm.AiInference"]
if (service === undefined || !("StreamPredict" in service)) throw new Error("the proto file has no StreamPredict")
const { requestDeserialize, responseSerialize } = service["StreamPredict"]!

it("a request has every field of the proto file, under its number", () => {
  const request: PredictRequest = {
    model: "qwen-7b",
    prompt: "你好",
    adapter: "poet",
    priority: -3,
    generation: { maxNewTokens: 4_000_000_000, temperature: 0.7, topP: 0.25, repetitionPenalty: -1.5 },
    workerHint: "gpu-1",
    traceId: "t-1",
    tenant: "acme",
    playerId: "p-1",
    locale: "zh-CN",
    extra: { a: "1", b: "2" }
  }
  assert.deepEqual<unknown>(requestDeserialize(Buffer.from(encodePredictRequest(request))), {
    model_id: "qwen-7b",
    prompt: "你好",
    adapter: "poet",
    priority: -3,
    generation: { max_new_tokens: 4_000_000_000, temperature: 0.7, top_p: 0.25, repetition_penalty: -1.5 },
    metadata: { trace_id: "t-1", tenant: "acme", player_id: "p-1", locale: "zh-CN", extra: { a: "1", b: "2" } },
    worker_hint: "gpu-1"
  })
  assert.deepEqual(decodePredictRequest(encodePredictRequest(request)), request)
  // A field that is new in the Schema has to be in the list above.
  assert.sameMembers(Object.keys(request), Object.keys(PredictRequest.fields))
})

it("what a request leaves out is not sent", () => {
  assert.deepEqual(encodePredictRequest({ model: "", prompt: "" }), new Uint8Array())
})

it("a reply has every field of the proto file", () => {
  const bytes = responseSerialize({
    trace_id: "t-1",
    chunk: "你好",
    end_of_stream: true,
    index: 70_000,
    ttft_ms: 12.5,
    tokens_per_sec: 0.25
  })
  const reply = decodePredictReply(new Uint8Array(bytes), ["[模型加载]"])
  assert.deepEqual(reply, {
    traceId: "t-1",
    chunk: "你好",
    isNotice: false,
    endOfStream: true,
    index: 70_000,
    ttftMillis: 12.5,
    tokensPerSec: 0.25
  })
  assert.sameMembers(Object.keys(reply), Object.keys(PredictReply.fields))
})

it("a chunk with a notice prefix is a notice", () => {
  const bytes = responseSerialize({ chunk: "[模型加载] wait" })
  assert.isTrue(decodePredictReply(new Uint8Array(bytes), ["[模型加载]"]).isNotice)
})
