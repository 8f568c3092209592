import * as grpc from "@grpc/grpc-js"
import { Effect, Schema } from "effect"
import { ControlMessage, type WorkerHealthMessage } from "../internal/client/aiProto.ts"
import { Refusal } from "./refusal.ts"
import type { StandInState } from "./state.ts"

type Payload = Readonly<Record<string, string>>

const mistake = (message: string): Payload => ({ status: "error", message })

const obey = (state: StandInState, command: string, payload: Payload): Payload => {
  switch (command) {
    case "ping":
      return { status: "ok", message: "pong" }
    case "list_models":
      return { status: "ok", models: [...state.loaded].join(",") }
    case "unload_model": {
      const model = payload.model_id
      if (model === undefined || model === "") return mistake("payload.model_id is missing")
      return state.loaded.delete(model) ? { status: "ok", model_id: model } : mistake(`model is not loaded: ${model}`)
    }
    default:
      return mistake(`unknown command: ${command}`)
  }
}

/** Answers `ping`, `list_models` and `unload_model`. */
export const control = (state: StandInState, request: unknown): Effect.Effect<ControlMessage, Refusal> =>
  Schema.decodeUnknownEffect(ControlMessage)(request).pipe(
    Effect.mapError((error) => new Refusal({ code: grpc.status.INVALID_ARGUMENT, details: error.message })),
    Effect.map(({ command, payload, trace_id }) => ({
      trace_id,
      command: `${command}_response`,
      payload: obey(state, command, payload)
    }))
  )

/** Answers Health, once it has a place in the thread pool. */
export const health = (state: StandInState): Effect.Effect<WorkerHealthMessage> =>
  state.withPlace(Effect.map(state.reloadSecondsLeft, (left) => ({
    healthy: true,
    metrics: {
      backend: "standin",
      cuda_available: "false",
      requests_inflight: String(state.figures.inflight),
      requests_success: String(state.figures.success),
      requests_failed: String(state.figures.failed),
      ...(left === undefined ? {} : { status: "reloading", eta_seconds: String(Math.ceil(left)) })
    }
  })))
