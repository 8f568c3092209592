import * as grpc from "@grpc/grpc-js"
import { Cause, Clock, Effect, Queue, Schema, type Scope, Stream } from "effect"
import { readFileSync } from "node:fs"
import * as Status from "../../services/Status.ts"
import { MAX_MESSAGE_BYTES } from "../wire/aiContract.ts"
import { socketPath } from "../wire/socketAddress.ts"
import {
  ControlMessage,
  loadAiInference,
  type Method,
  PredictChunk,
  type PredictRequest,
  WorkerHealthMessage
} from "./aiProto.ts"

/** A call that did not end OK. `trailers` holds the text of every ASCII trailer. */
export class CallFailed extends Schema.TaggedError<CallFailed>()("CallFailed", {
  code: Schema.Int,
  details: Schema.String,
  trailers: Schema.Record(Schema.String, Schema.String)
}) {
  override get message(): string {
    return `${Status.codeName(this.code)}: ${this.details}`
  }
}

/** How to reach a sidecar or a worker. `ca`, `cert`, `key`: PEM files; `ca` switches TLS on. */
export interface AiClientOptions {
  readonly address: string
  readonly bearerToken?: string | undefined
  readonly ca?: string | undefined
  readonly cert?: string | undefined
  readonly key?: string | undefined
}

export interface CallOptions {
  /** Further metadata of the call. */
  readonly metadata?: Readonly<Record<string, string>> | undefined
  /** Seconds until the call is given up; default: none. */
  readonly deadlineSeconds?: number | undefined
}

/** A client of `cy.llm.AiInference`, for terminals and tests: it decodes every message. */
export interface AiClient {
  /** One generation. Interrupting the stream cancels the call. */
  readonly predict: (
    request: Partial<PredictRequest>,
    options?: CallOptions
  ) => Stream.Stream<PredictChunk, CallFailed>
  readonly control: (
    command: string,
    payload?: Readonly<Record<string, string>>,
    options?: CallOptions
  ) => Effect.Effect<ControlMessage, CallFailed>
  readonly health: (options?: CallOptions) => Effect.Effect<WorkerHealthMessage, CallFailed>
}

const credentials = (options: AiClientOptions): grpc.ChannelCredentials => {
  if (options.ca === undefined) return grpc.credentials.createInsecure()
  const pem = (file: string | undefined) => file === undefined ? null : readFileSync(file)
  return grpc.credentials.createSsl(pem(options.ca), pem(options.key), pem(options.cert))
}

/** The name grpc-js knows an address by: Unix sockets always by an absolute path. */
const target = (address: string): string => address.startsWith("unix:") ? `unix://${socketPath(address)}` : address

const textOf = (metadata: grpc.Metadata): Record<string, string> =>
  Object.fromEntries(
    Object.entries(metadata.getMap()).flatMap(([key, value]) => typeof value === "string" ? [[key, value]] : [])
  )

const failed = (status: grpc.StatusObject): CallFailed =>
  new CallFailed({ code: status.code, details: status.details, trailers: textOf(status.metadata) })

const malformed = (error: Schema.SchemaError): CallFailed =>
  new CallFailed({ code: Status.Code.INTERNAL, details: `not the contract's message: ${error.message}`, trailers: {} })

/** Buffered messages may still come after the status (grpc-js tells an error first): both ends are waited for. */
const finishOnceRead = (
  call: grpc.ClientDuplexStream<object, object>,
  queue: Queue.Queue<unknown, CallFailed | Cause.Done>
): void => {
  let status: grpc.StatusObject | undefined
  let read = false
  const finish = () => {
    if (status === undefined || !read) return
    if (status.code === grpc.status.OK) Queue.endUnsafe(queue)
    else Queue.failCauseUnsafe(queue, Cause.fail(failed(status)))
  }
  call.on("data", (message: unknown) => {
    Queue.offerUnsafe(queue, message)
  })
  call.on("end", () => {
    read = true
    finish()
  })
  call.on("status", (end) => {
    status = end
    finish()
  })
  call.on("error", () => {})
}

/**
 * The replies to one request. They are read as fast as they come, since grpc-js drops what was not read when a non-OK
 * status arrives.
 */
const replies = (
  client: grpc.Client,
  method: Method,
  request: object,
  metadata: grpc.Metadata,
  options: grpc.CallOptions
): Stream.Stream<unknown, CallFailed> =>
  Stream.callback<unknown, CallFailed>((queue) =>
    Effect.acquireRelease(
      Effect.sync(() => {
        const { path, requestSerialize, responseDeserialize } = method
        const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata, options)
        finishOnceRead(call, queue)
        call.write(request)
        call.end()
        return call
      }),
      (call) => Effect.sync(() => call.cancel())
    )
  )

const ask = (
  client: grpc.Client,
  method: Method,
  request: object,
  metadata: grpc.Metadata,
  options: grpc.CallOptions
): Effect.Effect<unknown, CallFailed> =>
  Effect.callback<unknown, CallFailed>((resume) => {
    const { path, requestSerialize, responseDeserialize } = method
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadata,
      options,
      (error, reply) => resume(error === null ? Effect.succeed(reply) : Effect.fail(failed(error)))
    )
    return Effect.sync(() => call.cancel())
  })

/**
 * A client over a channel of its own, closed with the scope. Nothing is dialled before the first call.
 *
 * @throws as a defect when a PEM file cannot be read: look at it first.
 */
export const make = (options: AiClientOptions): Effect.Effect<AiClient, never, Scope.Scope> =>
  Effect.gen(function*() {
    const contract = loadAiInference()
    const client = yield* Effect.acquireRelease(
      Effect.sync(() =>
        new grpc.Client(target(options.address), credentials(options), {
          "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
          "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
          "grpc.enable_retries": 0,
          "grpc.enable_http_proxy": 0,
          "grpc.use_local_subchannel_pool": 1
        })
      ),
      (client) => Effect.sync(() => client.close())
    )
    const prepare = (call: CallOptions) =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        const metadata = new grpc.Metadata()
        for (const [key, value] of Object.entries(call.metadata ?? {})) metadata.add(key, value)
        if (options.bearerToken !== undefined) metadata.set("authorization", `Bearer ${options.bearerToken}`)
        const deadline = call.deadlineSeconds === undefined ? {} : { deadline: now + call.deadlineSeconds * 1000 }
        return { metadata, deadline }
      })
    const unary =
      <S extends Schema.ConstraintDecoder<unknown>>(method: Method, schema: S) =>
      (request: object, call: CallOptions): Effect.Effect<S["Type"], CallFailed> =>
        prepare(call).pipe(
          Effect.flatMap(({ deadline, metadata }) => ask(client, method, request, metadata, deadline)),
          Effect.flatMap(Schema.decodeUnknownEffect(schema)),
          Effect.catchTag("SchemaError", (error) => Effect.fail(malformed(error)))
        )
    const control = unary(contract.control, ControlMessage)
    const health = unary(contract.health, WorkerHealthMessage)
    return {
      predict: (request, call = {}) =>
        Stream.unwrap(
          Effect.map(
            prepare(call),
            ({ deadline, metadata }) => replies(client, contract.streamPredict, request, metadata, deadline)
          )
        ).pipe(
          Stream.mapEffect((message) => Schema.decodeUnknownEffect(PredictChunk)(message)),
          Stream.catchTag("SchemaError", (error) => Stream.fail(malformed(error)))
        ),
      control: (command, payload = {}, call = {}) => control({ trace_id: "", command, payload }, call),
      health: (call = {}) => health({}, call)
    }
  })
