import type * as grpc from "@grpc/grpc-js"
import { identity } from "./grpcJsMessages.ts"

/** A path that no gateway calls: the fallback is registered under it, so that grpc-js itself makes the entry. */
const TEMPLATE_PATH = "/cy-llm-sidecar.Fallback/Any"

class HandlersWithFallback extends Map<unknown, unknown> {
  readonly #fallback: (path: unknown) => unknown

  constructor(entries: ReadonlyMap<unknown, unknown>, fallback: (path: unknown) => unknown) {
    super(entries)
    this.#fallback = fallback
  }

  override get(path: unknown): unknown {
    return super.get(path) ?? this.#fallback(path)
  }
}

/**
 * Sends every method that `server` does not know to `handler`. grpc-js offers no way to do this, so its own table is
 * replaced; where it has none (another version), unknown methods stay UNIMPLEMENTED. Only for a server of our own.
 */
export const addFallback = (server: grpc.Server, handler: grpc.handleBidiStreamingCall<Buffer, Buffer>): void => {
  server.register(TEMPLATE_PATH, handler, identity, identity, "bidi")
  const handlers: unknown = Reflect.get(server, "handlers")
  if (!(handlers instanceof Map)) return
  const template: unknown = handlers.get(TEMPLATE_PATH)
  if (typeof template !== "object" || template === null) return
  Reflect.set(server, "handlers", new HandlersWithFallback(handlers, (path) => ({ ...template, path })))
}
