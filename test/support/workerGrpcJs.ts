import * as grpc from "@grpc/grpc-js"
import * as fs from "node:fs"
import { burst } from "./burst.ts"
import { health } from "./protobuf.ts"
import type { Command, Event, HealthMode, Pairs } from "./workerProtocol.ts"

/** The methods of the contract, and one that no version of it knows. All are served as bidirectional bytes. */
const methods = [
  "/cy.llm.AiInference/StreamPredict",
  "/cy.llm.AiInference/Control",
  "/cy.llm.AiInference/Health",
  "/cy.llm.AiTraining/StartTraining",
  "/cy.llm.AiTraining/GetTrainingStatus",
  "/cy.llm.AiTraining/CancelTraining",
  "/cy.llm.AiTraining/ListTrainingJobs",
  "/cy.llm.AiTraining/ExecuteCustomScript",
  "/cy.llm.AiTraining/CancelCustomScript",
  "/cy.llm.AiFuture/Invent"
]

type Call = grpc.ServerDuplexStream<Buffer, Buffer>

const identity = (bytes: Buffer): Buffer => bytes

const metadataOf = (pairs: Pairs): grpc.Metadata => {
  const metadata = new grpc.Metadata()
  for (const [key, value] of pairs) metadata.add(key, typeof value === "string" ? value : Buffer.from(value))
  return metadata
}

const headersOf = (metadata: grpc.Metadata): Record<string, string> =>
  Object.fromEntries(
    Object.keys(metadata.getMap()).map((key) => [
      key,
      metadata.get(key).map((value) => (typeof value === "string" ? value : value.toString("base64"))).join(", ")
    ])
  )

/** A worker on grpc-js that does what it is told over IPC. */
export const startGrpcJs = (path: string, emit: (event: Event) => void): (command: Command) => void => {
  const calls = new Map<number, { readonly call: Call; ended: boolean }>()
  let mode: HealthMode = { kind: "answer", healthy: true, metrics: {} }
  let ids = 0

  const answerHealth = (call: Call) => {
    emit({ event: "health" })
    call.on("error", () => undefined)
    call.on("data", () => undefined)
    if (mode.kind === "silent") return
    if (mode.kind === "fail") {
      call.emit("error", { code: mode.code, details: mode.message })
      return
    }
    call.write(health(mode.healthy, mode.metrics))
    call.end()
  }

  const serve = (call: Call) => {
    if (call.getPath() === "/cy.llm.AiInference/Health") return answerHealth(call)
    const id = ++ids
    const entry = { call, ended: false }
    calls.set(id, entry)
    const deadline = call.getDeadline()
    emit({
      event: "call",
      id,
      path: call.getPath(),
      authority: call.getHost(),
      headers: headersOf(call.metadata),
      timeoutMillis: deadline === Infinity ? undefined : Number(deadline) - Date.now()
    })
    call.on("data", (message: Buffer) => emit({ event: "message", id, message }))
    call.on("end", () => emit({ event: "halfClose", id }))
    call.on("error", () => undefined)
    call.on("cancelled", () => {
      if (!entry.ended) emit({ event: "cancelled", id, code: 8 })
    })
    call.on("close", () => {
      calls.delete(id)
      emit({ event: "closed", id })
    })
  }

  const server = new grpc.Server({
    "grpc.max_receive_message_length": -1,
    "grpc.max_send_message_length": -1,
    "grpc.max_metadata_size": 1 << 20
  })
  server.addService(
    Object.fromEntries(methods.map((method) => [method, {
      path: method,
      requestStream: true,
      responseStream: true,
      requestSerialize: identity,
      requestDeserialize: identity,
      responseSerialize: identity,
      responseDeserialize: identity
    }])),
    Object.fromEntries(methods.map((method) => [method, serve]))
  )
  fs.rmSync(path, { force: true })
  server.bindAsync(`unix:${path}`, grpc.ServerCredentials.createInsecure(), (cause) => {
    emit(cause === null ? { event: "listening" } : { event: "failed", detail: cause.message })
  })

  return (command) => {
    if (command.op === "health") {
      mode = command.mode
      return
    }
    const entry = calls.get(command.id)
    if (entry === undefined) return
    const { call } = entry
    switch (command.op) {
      case "headers":
        return call.sendMetadata(metadataOf(command.metadata))
      case "messages":
        for (const message of command.messages) call.write(Buffer.from(message))
        return
      case "burst":
        return burst(command.id, call, Buffer.from(command.message), command.count, emit)
      case "end":
        entry.ended = true
        if (command.code === 0) return call.end(metadataOf(command.trailers))
        call.emit("error", {
          code: command.code,
          details: command.message,
          metadata: metadataOf(command.trailers)
        })
        return
      default:
        throw new Error(`a grpc-js worker cannot "${command.op}"`)
    }
  }
}
