/**
 * Baseline: the thinnest pass-through that can be built from grpc-js. Identity serializers, event handlers, `pause` and
 * `drain` for backpressure; no metering, no metadata, no reconnecting.
 *
 * `node grpcjs-passthrough.ts PORT SOCKET_PATH`
 */
import * as grpc from "@grpc/grpc-js"

const identity = (bytes: Buffer): Buffer => bytes
const path = "/cy.llm.AiInference/StreamPredict"
const [port, socket] = process.argv.slice(2)

const client = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure(), {
  "grpc.max_receive_message_length": -1
})
const server = new grpc.Server({ "grpc.max_receive_message_length": -1 })

const relay = (call: grpc.ServerDuplexStream<Buffer, Buffer>): void => {
  const up = client.makeBidiStreamRequest(path, identity, identity)
  call.on("data", (frame: Buffer) => {
    if (!up.write(frame)) {
      call.pause()
      up.once("drain", () => call.resume())
    }
  })
  call.on("end", () => up.end())
  call.on("cancelled", () => up.cancel())
  up.on("data", (frame: Buffer) => {
    if (!call.write(frame)) {
      up.pause()
      call.once("drain", () => up.resume())
    }
  })
  let failure: grpc.ServiceError | undefined
  up.on("error", (error: grpc.ServiceError) => {
    failure = error
    call.emit("error", error)
  })
  up.on("end", () => {
    if (failure === undefined) call.end()
  })
}

server.addService({
  StreamPredict: {
    path,
    requestStream: true,
    responseStream: true,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity
  }
}, { StreamPredict: relay })
server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error
})
process.on("SIGTERM", () => process.exit(0))
