import type { Cause } from "effect"
import { Effect, Fiber, type Scope } from "effect"
import type { IncomingMessage, Server, ServerResponse } from "node:http"
import { builtins } from "../builtins.ts"
import { acceptsGzip } from "./accepted.ts"
import { keepConnections, type OpsLimit } from "./opsConnections.ts"

/** What a page says. */
export interface OpsAnswer {
  readonly body: string
  /** Default: 200. */
  readonly status?: number | undefined
  /** Default: `text/plain`. */
  readonly contentType?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
}

/** A page, whatever is asked for it; or one that looks at the `Accept` of the request. */
export type OpsPage = Effect.Effect<OpsAnswer> | ((accept: string | undefined) => Effect.Effect<OpsAnswer>)

/** The pages, by path. */
export type OpsPages = ReadonlyMap<string, OpsPage>

/** A body that is shorter fits into a packet as it is. Characters. */
const WORTH_COMPRESSING = 1024

/** How long requests may go on when the scope closes. */
const grace = "1 second"

/** Every answer is of this moment, and of the type it says. */
const headers = {
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  vary: "accept, accept-encoding"
}

const pathOf = (url: string): string => url.split(/[?#]/, 1)[0] ?? ""

const respond = (
  pages: OpsPages,
  { headers, method = "", url = "" }: IncomingMessage
): Effect.Effect<OpsAnswer> => {
  const page = pages.get(pathOf(url))
  if (page === undefined) {
    return Effect.succeed({ status: 404, body: `not found; here are ${[...pages.keys()].join(" ")}\n` })
  }
  return method === "GET" || method === "HEAD"
    ? Effect.isEffect(page) ? page : page(headers.accept)
    : Effect.succeed({ status: 405, body: "only GET and HEAD\n", headers: { allow: "GET, HEAD" } })
}

const broken = (cause: Cause.Cause<never>): Effect.Effect<OpsAnswer> =>
  Effect.as(Effect.logError("a page of the metrics server failed", cause), { status: 500, body: "internal error\n" })

/** An answer that is shared is compressed once. */
const compressions = new WeakMap<OpsAnswer, Promise<Uint8Array>>()

/** In a thread: it costs the event loop nothing. */
const compressed = (answer: OpsAnswer): Effect.Effect<Uint8Array> =>
  Effect.promise(() => {
    const known = compressions.get(answer)
    if (known !== undefined) return known
    const { constants, gzip } = builtins.zlib
    const made = builtins.util.promisify(gzip)(answer.body, { level: constants.Z_BEST_SPEED })
    compressions.set(answer, made)
    return made
  })

const send = (request: IncomingMessage, response: ServerResponse, answer: OpsAnswer): Effect.Effect<void> => {
  const write = (body: string | Uint8Array, encoding: Readonly<Record<string, string>> = {}): void => {
    response.writeHead(answer.status ?? 200, {
      ...headers,
      ...answer.headers,
      ...encoding,
      "content-type": answer.contentType ?? "text/plain",
      "content-length": Buffer.byteLength(body)
    })
    // Node leaves the body of an answer to HEAD away.
    response.end(body)
  }
  return answer.body.length >= WORTH_COMPRESSING && acceptsGzip(request.headers["accept-encoding"])
    ? Effect.map(compressed(answer), (body) => write(body, { "content-encoding": "gzip" }))
    : Effect.sync(() => write(answer.body))
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
  const server = builtins.http.createServer()
  keepConnections(server, {
    maxConnections,
    onLimit,
    answer: (request, response) => {
      track(run(
        respond(pages, request).pipe(
          Effect.catchCause(broken),
          Effect.flatMap((answer) => send(request, response, answer))
        )
      ))
    }
  })
  yield* Effect.acquireRelease(listen(server, host, port), () => stop(server))
  const address = server.address()
  return address === null || typeof address === "string" ? port : address.port
})
