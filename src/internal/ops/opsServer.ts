import type { Cause } from "effect"
import { Effect, Fiber, type Scope } from "effect"
import type { Server, ServerResponse } from "node:http"
import { keepConnections, type OpsLimit } from "./opsConnections.ts"

// Not `import`: that reads every export of the module, and reading `WebSocket` loads all of undici (11 MiB, 60 ms).
const { createServer } = process.getBuiltinModule("node:http")

/** What a page says. */
export interface OpsAnswer {
  readonly body: string
  /** Default: 200. */
  readonly status?: number | undefined
  /** Default: `text/plain`. */
  readonly contentType?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** The pages, by path. */
export type OpsPages = ReadonlyMap<string, Effect.Effect<OpsAnswer>>

/** How long requests may go on when the scope closes. */
const grace = "1 second"

/** Every answer is of this moment, and of the type it says. */
const headers = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer"
}

const pathOf = (url: string): string => url.split(/[?#]/, 1)[0] ?? ""

const respond = (pages: OpsPages, method: string, url: string): Effect.Effect<OpsAnswer> => {
  const page = pages.get(pathOf(url))
  if (page === undefined) {
    return Effect.succeed({ status: 404, body: `not found; here are ${[...pages.keys()].join(" ")}\n` })
  }
  return method === "GET" || method === "HEAD"
    ? page
    : Effect.succeed({ status: 405, body: "only GET and HEAD\n", headers: { allow: "GET, HEAD" } })
}

const broken = (cause: Cause.Cause<never>): Effect.Effect<OpsAnswer> =>
  Effect.as(Effect.logError("a page of the metrics server failed", cause), { status: 500, body: "internal error\n" })

const send = (response: ServerResponse, answer: OpsAnswer): void => {
  response.writeHead(answer.status ?? 200, {
    ...headers,
    ...answer.headers,
    "content-type": answer.contentType ?? "text/plain",
    "content-length": Buffer.byteLength(answer.body)
  })
  // Node leaves the body of an answer to HEAD away.
  response.end(answer.body)
}

const listen = (server: Server, host: string, port: number): Effect.Effect<void, Error> =>
  Effect.callback<void, Error>((resume) => {
    // Stays: an error without a listener would end the process.
    server.on("error", (error) => resume(Effect.fail(error)))
    server.listen({ host, port }, () => resume(Effect.void))
  })

const stop = (server: Server): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
  }).pipe(
    Effect.timeoutOrElse({ duration: grace, orElse: () => Effect.sync(() => server.closeAllConnections()) })
  )

/** Where to listen, and how much of it. */
export interface OpsServerOptions {
  readonly host: string
  /** 0: any free one. */
  readonly port: number
  readonly maxConnections: number
  /** A limit has bitten, for the peer at this address. */
  readonly onLimit: (limit: OpsLimit, peer: string) => void
}

/** Serves pages over HTTP until the scope closes, and answers with the port; fails with what `listen` said. */
export const serve = Effect.fnUntraced(function*(
  pages: OpsPages,
  { host, maxConnections, onLimit, port }: OpsServerOptions
): Effect.fn.Return<number, Error, Scope.Scope> {
  const track = Fiber.runIn(yield* Effect.scope)
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const server = createServer()
  keepConnections(server, {
    maxConnections,
    onLimit,
    answer: (request, response) => {
      track(run(
        respond(pages, request.method ?? "", request.url ?? "").pipe(
          Effect.catchCause(broken),
          Effect.map((answer) => send(response, answer))
        )
      ))
    }
  })
  yield* Effect.acquireRelease(listen(server, host, port), () => stop(server))
  const address = server.address()
  return address === null || typeof address === "string" ? port : address.port
})
