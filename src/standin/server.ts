import * as grpc from "@grpc/grpc-js"
import { Effect, FiberSet, Layer, type Scope, Stream } from "effect"
import { loadAiInference } from "../internal/client/aiProto.ts"
import { MAX_MESSAGE_BYTES } from "../internal/wire/aiContract.ts"
import { socketPath } from "../internal/wire/socketAddress.ts"
import { BindError } from "../services/GrpcServer.ts"
import { predict, type PredictCall } from "./predict.ts"
import type { Refusal } from "./refusal.ts"
import { clearStale } from "./socketFile.ts"
import { type StandInOptions, StandInWorker } from "./StandInWorker.ts"
import * as State from "./state.ts"
import { control, health } from "./unary.ts"

const DEFAULT_SOCKET = "unix:///tmp/cy_worker.sock"

/** As a CY-LLM worker: 100 MiB both ways, keepalive each 30 s, without calls too. */
const SERVER_OPTIONS: grpc.ServerOptions = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.keepalive_permit_without_calls": 1
}

const UNAUTHENTICATED = { code: grpc.status.UNAUTHENTICATED, details: "Invalid or missing bearer token" }

type UnaryCall = grpc.ServerUnaryCall<object, object>

const implementation = (
  state: State.StandInState,
  run: (effect: Effect.Effect<void>) => { readonly interruptUnsafe: () => void }
): grpc.UntypedServiceImplementation => {
  const { bearerToken, threads } = state.options
  const allowed = (metadata: grpc.Metadata): boolean =>
    bearerToken === undefined || metadata.get("authorization").includes(`Bearer ${bearerToken}`)
  const reply = (callback: grpc.sendUnaryData<object>, effect: Effect.Effect<object, Refusal>) => {
    run(Effect.match(effect, {
      onFailure: ({ code, details }) => callback({ code, details }),
      onSuccess: (response) => callback(null, response)
    }))
  }
  return {
    StreamPredict: (call: PredictCall) => {
      if (!allowed(call.metadata)) return call.emit("error", UNAUTHENTICATED)
      const fiber = run(predict(state, call))
      call.on("cancelled", () => {
        if (threads === undefined) fiber.interruptUnsafe()
      })
    },
    Control: (call: UnaryCall, callback: grpc.sendUnaryData<object>) => {
      if (!allowed(call.metadata)) return callback(UNAUTHENTICATED)
      reply(callback, control(state, call.request))
    },
    Health: (_: UnaryCall, callback: grpc.sendUnaryData<object>) => reply(callback, health(state))
  }
}

/** Listens until the scope closes; running streams then get `graceMillis`. */
const listen = (
  file: string,
  server: grpc.Server,
  graceMillis: number
): Effect.Effect<void, BindError, Scope.Scope> => {
  const address = `unix://${file}`
  const bind = Effect.callback<void, BindError>((resume) => {
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error) =>
      resume(
        error === null
          ? Effect.void
          : Effect.fail(
            new BindError({
              key: "--socket",
              address,
              reason: /EACCES|EPERM/.test(error.message) ? "forbidden" : "unavailable",
              detail: `--socket: cannot listen on ${file}: ${error.message}`
            })
          )
      ))
  })
  const shutdown = Effect.callback<void>((resume) => {
    server.tryShutdown(() => resume(Effect.void))
  }).pipe(
    Effect.timeoutOrElse({ duration: graceMillis, orElse: () => Effect.sync(() => server.forceShutdown()) })
  )
  return Effect.asVoid(Effect.acquireRelease(bind, () => shutdown))
}

/** A stand-in worker on a Unix socket. A stale socket file is replaced; the file goes when the scope closes. */
export const layer = (options: StandInOptions = {}): Layer.Layer<StandInWorker, BindError> =>
  Layer.effect(
    StandInWorker,
    Effect.gen(function*() {
      const file = socketPath(options.socket ?? DEFAULT_SOCKET)
      const state = yield* State.make(options)
      const fibers = yield* FiberSet.make<void>()
      const run = yield* FiberSet.runtime(fibers)()
      const server = new grpc.Server(SERVER_OPTIONS)
      server.addService(loadAiInference().service, implementation(state, run))
      yield* clearStale(file)
      yield* listen(file, server, options.graceMillis ?? 5000)
      return {
        address: `unix://${file}`,
        reload: state.reload,
        events: Stream.fromPubSub(state.events)
      }
    })
  )
