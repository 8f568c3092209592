import { Effect, Latch } from "effect"
import type { CallHandler } from "../../services/GrpcServer.ts"
import type { InferenceProxy } from "../../services/InferenceProxy.ts"
import * as Status from "../../services/Status.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import { frame } from "../wire/frames.ts"
import { lastBytes, text, Writer } from "../wire/protobuf.ts"
import { answer } from "./answer.ts"
import { oneRequest, unary, type UnaryOptions } from "./unary.ts"

export const GRPC_HEALTH = "grpc.health.v1.Health"

/** `grpc.health.v1.HealthCheckResponse.ServingStatus`. */
const Serving = { SERVING: 1, NOT_SERVING: 2, SERVICE_UNKNOWN: 3 } as const

export interface GrpcHealthOptions extends UnaryOptions {
  /** The services known beside `""`. */
  readonly services: ReadonlyArray<string>
  readonly proxy: InferenceProxy["Service"]
}

/** No service of ours has a longer name. */
const MAX_NAME_BYTES = 256

/** Field 1 of `HealthCheckRequest`; `undefined`: longer than any name that is known. */
const serviceOf = (request: Uint8Array): string | undefined => {
  const name = lastBytes(request, 1)
  if (name === undefined) return ""
  return name.length > MAX_NAME_BYTES ? undefined : text(name)
}

const response = (status: number): Writer => new Writer().varint(1, status)

const draining = Status.make(Status.Code.UNAVAILABLE, "Sidecar is draining", { "cy-reason": "draining" })

/**
 * `grpc.health.v1.Health` (grpc/grpc doc/health-checking.md). Every known service has one answer: SERVING while a new
 * stream would be served or held (`[health] ready_when`). Nothing is kept by the names that callers send.
 */
export const grpcHealthRoutes = (options: GrpcHealthOptions): ReadonlyArray<readonly [string, CallHandler]> => {
  const { proxy } = options
  const known = new Set<string | undefined>(["", ...options.services])
  const serving = (): number => proxy.ready() ? Serving.SERVING : Serving.NOT_SERVING

  const check: CallHandler = unary(options, (request) => {
    const service = serviceOf(request)
    return known.has(service)
      ? Effect.sync(() => response(serving()).finish())
      : Effect.fail(Status.make(Status.Code.NOT_FOUND, "unknown service"))
  })

  const list: CallHandler = unary(options, () =>
    Effect.sync(() => {
      const status = response(serving())
      const out = new Writer()
      for (const service of ["", ...options.services]) {
        out.message(1, new Writer().string(1, service).message(2, status))
      }
      return out.finish()
    }))

  /** Emits at once and then on changes; completes when the sidecar drains, after NOT_SERVING was sent. */
  const follow = (call: ServerCall, watch: Watch, status: () => number): Effect.Effect<GrpcStatus> =>
    Effect.raceFirst(
      watch.whileLagging(call),
      Effect.callback<GrpcStatus>((resume) => {
        const stop = (): void => {
          watch.stop()
          offReady()
          offDraining()
        }
        const emit = (): void => {
          const last = proxy.draining()
          watch.emit(status(), last)
          if (!last) return
          stop()
          resume(Effect.succeed(draining))
        }
        const offReady = proxy.onReady(emit)
        const offDraining = proxy.onDraining(emit)
        watch.begin(call, emit)
        return Effect.sync(stop)
      })
    )

  const watch: CallHandler = (call) => {
    const state = new Watch()
    return answer(
      call,
      options.handled,
      options.calls.counted(
        call,
        oneRequest(call, options).pipe(
          Effect.flatMap((request) =>
            follow(call, state, known.has(serviceOf(request)) ? serving : () => Serving.SERVICE_UNKNOWN)
          )
        )
      )
    )
  }

  return [
    [`/${GRPC_HEALTH}/Check`, check],
    [`/${GRPC_HEALTH}/List`, list],
    [`/${GRPC_HEALTH}/Watch`, watch]
  ]
}

/** What one Watch last said. A watcher that does not read gets only the newest status once it reads again. */
class Watch {
  #call: ServerCall | undefined
  #again: () => void = () => {}
  #last: number | undefined
  #full = false
  readonly #lags = Latch.makeUnsafe(false)

  begin(call: ServerCall, emit: () => void): void {
    this.#call = call
    this.#again = emit
    emit()
  }

  /** `last`: there is no later chance, so it is written even when the reader lags. */
  emit(status: number, last: boolean): void {
    if (this.#call === undefined || (this.#full && !last) || status === this.#last) return
    this.#last = status
    this.#full = !this.#call.write(frame(response(status).finish()))
    if (this.#full) this.#lags.openUnsafe()
  }

  /** Says the newest status whenever the watcher reads again. */
  whileLagging(call: ServerCall): Effect.Effect<never> {
    return this.#lags.await.pipe(
      Effect.andThen(Effect.suspend(() => call.writable)),
      Effect.andThen(Effect.sync(() => {
        this.#full = false
        this.#lags.closeUnsafe()
        this.#again()
      })),
      Effect.forever
    )
  }

  stop(): void {
    this.#call = undefined
    this.#again = () => {}
  }
}
