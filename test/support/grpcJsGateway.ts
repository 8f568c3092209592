import * as grpc from "@grpc/grpc-js"
import { deferred, Recorder } from "./events.ts"
import { type CallOptions, type FinalStatus, type GatewayCall, PREDICT } from "./gateway.ts"

const identity = (bytes: Buffer): Buffer => bytes

const valuesOf = (metadata: grpc.Metadata): ReadonlyMap<string, ReadonlyArray<string>> =>
  new Map(
    Object.keys(metadata.getMap()).map((key) => [
      key,
      metadata.get(key).map((value) => (typeof value === "string" ? value : value.toString("base64")))
    ])
  )

/** A gateway on grpc-js, the client library that most of Node uses. It reads as fast as messages come. */
export class GrpcJsGateway {
  readonly #client: grpc.Client

  constructor(address: string, options: grpc.ClientOptions = {}) {
    this.#client = new grpc.Client(
      address.startsWith("unix://") ? `unix:${address.slice("unix://".length)}` : address,
      grpc.credentials.createInsecure(),
      {
        "grpc.max_receive_message_length": -1,
        "grpc.max_send_message_length": -1,
        "grpc.max_metadata_size": 1 << 20,
        "grpc.use_local_subchannel_pool": 1,
        "grpc.enable_retries": 0,
        ...options
      }
    )
  }

  call(options: CallOptions = {}): GatewayCall {
    const metadata = new grpc.Metadata()
    for (const [key, value] of options.metadata ?? []) {
      metadata.add(key, typeof value === "string" ? value : Buffer.from(value))
    }
    const call = this.#client.makeBidiStreamRequest<Buffer, Buffer>(
      options.path ?? PREDICT,
      identity,
      identity,
      metadata,
      options.timeoutMillis === undefined ? {} : { deadline: Date.now() + options.timeoutMillis }
    )
    const messages = new Recorder<Buffer>()
    const headers = deferred<ReadonlyMap<string, ReadonlyArray<string>>>()
    const final = deferred<FinalStatus>()
    call.on("metadata", (received) => headers.resolve(valuesOf(received)))
    call.on("data", (message: Buffer) => messages.push(message))
    call.on("error", () => undefined)
    let status: grpc.StatusObject | undefined
    let ended = false
    // With a non-OK status `end` comes after `status`, and up to 16 messages come in between.
    const finish = () => {
      if (status === undefined || !ended) return
      const trailersOnly = !headers.settled()
      const cause = new Error(`the call has ended (${status.code} ${status.details})`)
      headers.reject(cause)
      messages.fail(cause)
      final.resolve({ code: status.code, message: status.details, trailers: valuesOf(status.metadata), trailersOnly })
    }
    call.on("status", (received) => {
      status = received
      finish()
    })
    call.on("end", () => {
      ended = true
      finish()
    })
    for (const message of options.requests ?? []) call.write(Buffer.from(message))
    if (options.halfClose !== false) call.end()
    return {
      messages,
      headers: headers.promise,
      status: final.promise,
      send: (...more) => {
        for (const message of more) call.write(Buffer.from(message))
      },
      halfClose: () => void call.end(),
      cancel: () => call.cancel()
    }
  }

  close(): void {
    this.#client.close()
  }
}
