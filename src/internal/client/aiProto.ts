import type * as grpc from "@grpc/grpc-js"
import * as protoLoader from "@grpc/proto-loader"
import { Schema } from "effect"
import { fileURLToPath } from "node:url"
import { packageFile } from "../packageFile.ts"
import { AI_INFERENCE } from "../wire/aiContract.ts"

/** The packaged proto file. */
export const protoPath = fileURLToPath(packageFile("proto/ai_service.proto"))

// A float of protobuf may be NaN or infinite, and a worker's message is shown as it is.
// @effect-diagnostics schemaNumber:off

/** `cy.llm.StreamPredictRequest`, as the contract's own messages are read and written by name. */
export const PredictRequest = Schema.Struct({
  model_id: Schema.String,
  prompt: Schema.String,
  adapter: Schema.String,
  priority: Schema.Int,
  generation: Schema.NullOr(Schema.Struct({
    max_new_tokens: Schema.Int,
    temperature: Schema.Number,
    top_p: Schema.Number,
    repetition_penalty: Schema.Number
  })),
  metadata: Schema.NullOr(Schema.Struct({
    trace_id: Schema.String,
    tenant: Schema.String,
    player_id: Schema.String,
    locale: Schema.String,
    extra: Schema.Record(Schema.String, Schema.String)
  })),
  worker_hint: Schema.String
})
export type PredictRequest = typeof PredictRequest.Type

/** `cy.llm.StreamPredictResponse`. */
export const PredictChunk = Schema.Struct({
  trace_id: Schema.String,
  chunk: Schema.String,
  end_of_stream: Schema.Boolean,
  index: Schema.Int,
  ttft_ms: Schema.Number,
  tokens_per_sec: Schema.Number
})
export type PredictChunk = typeof PredictChunk.Type

/** `cy.llm.ControlMessage`. */
export const ControlMessage = Schema.Struct({
  trace_id: Schema.String,
  command: Schema.String,
  payload: Schema.Record(Schema.String, Schema.String)
})
export type ControlMessage = typeof ControlMessage.Type

/** `cy.llm.WorkerHealthResponse`. */
export const WorkerHealthMessage = Schema.Struct({
  healthy: Schema.Boolean,
  metrics: Schema.Record(Schema.String, Schema.String)
})
export type WorkerHealthMessage = typeof WorkerHealthMessage.Type

/** A method of the contract; its (de)serializers speak plain objects with the field names of the proto file. */
export type Method = protoLoader.MethodDefinition<object, object>

/** `cy.llm.AiInference`, read from the proto file. */
export interface AiInference {
  readonly service: grpc.ServiceDefinition
  readonly streamPredict: Method
  readonly control: Method
  readonly health: Method
}

const isService = (definition: protoLoader.AnyDefinition): definition is protoLoader.ServiceDefinition =>
  !("format" in definition)

const methodOf = (service: protoLoader.ServiceDefinition, name: string): Method => {
  const method = service[name]
  if (method === undefined) throw new Error(`${protoPath}: ${AI_INFERENCE} has no ${name}`)
  return method
}

/**
 * Reads the contract from the proto file. Throws when the package is broken (the file is missing or not ours): a
 * defect, never a user's mistake.
 */
export const loadAiInference = (): AiInference => {
  const definition = protoLoader.loadSync(protoPath, { keepCase: true, defaults: true, arrays: true, objects: true })
  const service = definition[AI_INFERENCE]
  if (service === undefined || !isService(service)) throw new Error(`${protoPath}: no service ${AI_INFERENCE}`)
  return {
    service,
    streamPredict: methodOf(service, "StreamPredict"),
    control: methodOf(service, "Control"),
    health: methodOf(service, "Health")
  }
}
