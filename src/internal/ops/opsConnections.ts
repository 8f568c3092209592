import type { IncomingMessage, Server, ServerResponse } from "node:http"
import type { Socket } from "node:net"

/** What one peer may not do: open more connections than there is room for, or ask far ahead of the answers. */
export type OpsLimit = "connections" | "pipelined"

/** Requests that may wait on one connection for the answer to those before them (RFC 9112 §9.3.2 allows to pipeline). */
const maxWaiting = 32

/** Nobody who reads or asks is silent for so long on a port of small pages. */
const silenceMillis = 30_000

/** How long the head of a request may take. */
const headMillis = 10_000

/** Answers one request. */
export type Answer = (request: IncomingMessage, response: ServerResponse) => void

export interface ConnectionOptions {
  readonly maxConnections: number
  readonly answer: Answer
  /** A limit has bitten. `peer`: the address of whom it bit. */
  readonly onLimit: (limit: OpsLimit, peer: string) => void
}

interface Connection {
  answering: boolean
  readonly waiting: Array<readonly [IncomingMessage, ServerResponse]>
}

/**
 * Keeps the connections of the operators' port in bounds: each has one request answered at a time, with a turn of the
 * event loop for others in between; when there are too many, the one that has been without a request for longest makes
 * room, so that a probe gets through beside peers that only hold connections open.
 */
export const keepConnections = (server: Server, options: ConnectionOptions): void => {
  const connections = new Map<Socket, Connection>()
  server.headersTimeout = headMillis
  server.timeout = silenceMillis

  const close = (socket: Socket, limit: OpsLimit): void => {
    options.onLimit(limit, socket.remoteAddress ?? "unknown")
    connections.delete(socket)
    socket.destroy()
  }

  /** Moves a connection behind all others: a Map keeps the order in which its keys were set. */
  const seen = (socket: Socket, connection: Connection): void => {
    connections.delete(socket)
    connections.set(socket, connection)
  }

  const next = (socket: Socket, connection: Connection): void => {
    if (connections.get(socket) !== connection) return
    seen(socket, connection)
    const waiting = connection.waiting.shift()
    if (waiting === undefined) connection.answering = false
    else answer(socket, connection, ...waiting)
  }

  const answer = (socket: Socket, connection: Connection, request: IncomingMessage, response: ServerResponse): void => {
    connection.answering = true
    response.once("close", () => setImmediate(next, socket, connection))
    options.answer(request, response)
  }

  server.on("connection", (socket: Socket) => {
    connections.set(socket, { answering: false, waiting: [] })
    socket.once("close", () => connections.delete(socket))
    if (connections.size <= options.maxConnections) return
    for (const [other, { answering }] of connections) {
      if (!answering) return close(other, "connections")
    }
  })
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    const connection = connections.get(socket)
    if (connection === undefined) return
    if (!connection.answering) answer(socket, connection, request, response)
    else if (connection.waiting.length < maxWaiting) connection.waiting.push([request, response])
    else close(socket, "pipelined")
  })
}
