import { Context, type Effect, Schema } from "effect"
import type { ServerCall } from "./Wire.ts"

/** The gRPC address cannot be served. */
export class BindError extends Schema.TaggedError<BindError>()("BindError", {
  key: Schema.String,
  address: Schema.String,
  reason: Schema.Literals(["in_use", "forbidden", "unavailable", "not_a_socket"]),
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/** Answers one call; it must end it (`ServerCall.end`). Interrupted when the gateway leaves. */
export type CallHandler = (call: ServerCall) => Effect.Effect<void>

/**
 * Which handler answers which path: the one small interface that both servers (`Http2Server`, `GrpcJsServer`) host.
 * A path that no handler takes goes to `fallback`.
 */
export interface CallRoutes {
  readonly routes: ReadonlyMap<string, CallHandler>
  readonly fallback: CallHandler
}

/**
 * The front of the sidecar. Closing its layer's scope stops listening and says GOAWAY; the drain itself is in
 * `layers/Sidecar`.
 */
export class GrpcServer extends Context.Service<GrpcServer, {
  /** What it listens on, as `host:port` or `unix:///path`; real ports, also where 0 was asked for. */
  readonly addresses: ReadonlyArray<string>
  /** GOAWAY on every connection and no new ones; running calls go on. */
  readonly stopAccepting: Effect.Effect<void>
  /** Completes when no connection has a call left. */
  readonly awaitIdle: Effect.Effect<void>
}>()("cy-llm-sidecar/GrpcServer") {}

/** The routes of this sidecar (see `layers/SidecarRoutes`). */
export class SidecarRoutes extends Context.Service<SidecarRoutes, CallRoutes>()("cy-llm-sidecar/SidecarRoutes") {}
