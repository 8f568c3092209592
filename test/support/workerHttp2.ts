import * as fs from "node:fs"
import * as http2 from "node:http2"
import * as net from "node:net"
import { burst } from "./burst.ts"
import { PoisonSocket } from "./poison.ts"
import { Cutter, frame, health } from "./protobuf.ts"
import type { Command, Event, HealthMode, Pairs } from "./workerProtocol.ts"

const END_STREAM = 1

const units: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }

const timeoutOf = (value: string | undefined): number | undefined =>
  value === undefined ? undefined : Number(value.slice(0, -1)) * (units[value.slice(-1)] ?? Number.NaN)

export const headersOf = (pairs: Pairs): Record<string, string | Array<string>> => {
  const out: Record<string, string | Array<string>> = {}
  for (const [key, value] of pairs) {
    const text = typeof value === "string" ? value : Buffer.from(value).toString("base64")
    const had = out[key]
    out[key] = had === undefined ? text : [...(Array.isArray(had) ? had : [had]), text]
  }
  return out
}

const first = (value: string | ReadonlyArray<string> | undefined): string =>
  typeof value === "string" ? value : value?.join(", ") ?? ""

interface Entry {
  readonly stream: http2.ServerHttp2Stream
  readonly socket: PoisonSocket
  trailers: http2.OutgoingHttpHeaders
  finished: boolean
}

const replyHeaders = { ":status": 200, "content-type": "application/grpc" }

/** A worker on bare HTTP/2 that does what it is told over IPC, also what no gRPC library would do. */
export const startHttp2 = (path: string, emit: (event: Event) => void): (command: Command) => void => {
  const calls = new Map<number, Entry>()
  let mode: HealthMode = { kind: "answer", healthy: true, metrics: {} }
  let ids = 0
  const sockets = new WeakMap<http2.Http2Session, PoisonSocket>()
  let latest: PoisonSocket | undefined

  const answerHealth = (stream: http2.ServerHttp2Stream) => {
    emit({ event: "health" })
    stream.resume()
    // The sidecar may have given it up before we learn of it.
    if (mode.kind === "silent" || stream.destroyed) return
    if (mode.kind === "fail") {
      stream.respond({ ...replyHeaders, "grpc-status": String(mode.code), "grpc-message": mode.message }, {
        endStream: true
      })
      return
    }
    stream.respond(replyHeaders, { waitForTrailers: true })
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
    stream.end(frame(health(mode.healthy, mode.metrics)))
  }

  const server = http2.createServer({
    maxHeaderListPairs: 1024,
    settings: { maxHeaderListSize: 1 << 20 },
    // A C-core worker has no limit on resets, and all gateways' cancels come to it over one connection.
    streamResetBurst: 1_000_000,
    streamResetRate: 1_000_000
  })
  server.on("session", (session) => {
    emit({ event: "connection" })
    session.on("error", () => undefined)
    if (latest !== undefined) sockets.set(session, latest)
  })
  server.on("stream", (stream, headers) => {
    stream.on("error", () => undefined)
    const called = String(headers[":path"])
    if (called === "/cy.llm.AiInference/Health") return answerHealth(stream)
    const id = ++ids
    const entry: Entry = {
      stream,
      socket: sockets.get(stream.session!)!,
      trailers: { "grpc-status": "0" },
      finished: false
    }
    calls.set(id, entry)
    emit({
      event: "call",
      id,
      path: called,
      authority: String(headers[":authority"] ?? ""),
      headers: Object.fromEntries(
        Object.entries(headers).filter(([key]) => !key.startsWith(":")).map(([key, value]) => [key, first(value)])
      ),
      timeoutMillis: timeoutOf(first(headers["grpc-timeout"]) || undefined)
    })
    const cutter = new Cutter()
    stream.on("data", (chunk: Buffer) => {
      for (const { message } of cutter.push(chunk)) emit({ event: "message", id, message })
    })
    stream.on("end", () => emit({ event: "halfClose", id }))
    stream.on("wantTrailers", () => {
      entry.finished = true
      stream.sendTrailers(entry.trailers)
    })
    stream.on("aborted", () => {
      if (!entry.finished) emit({ event: "cancelled", id, code: stream.rstCode ?? 0 })
    })
    stream.on("close", () => {
      calls.delete(id)
      emit({ event: "closed", id })
    })
  })
  fs.rmSync(path, { force: true })
  const listener = net.createServer((socket) => {
    latest = new PoisonSocket(socket, "server")
    latest.on("error", () => undefined)
    server.emit("connection", latest)
  })
  listener.on("error", (cause) => emit({ event: "failed", detail: cause.message }))
  listener.listen(path, () => emit({ event: "listening" }))

  const open = (entry: Entry) => {
    if (!entry.stream.headersSent) entry.stream.respond(replyHeaders, { waitForTrailers: true })
  }

  return (command) => {
    if (command.op === "health") {
      mode = command.mode
      return
    }
    const entry = calls.get(command.id)
    if (entry === undefined) return
    const { socket, stream } = entry
    // Its connection may live on, but nothing can be said on the stream any more.
    if (stream.destroyed && !["goaway", "destroy", "finish"].includes(command.op)) return
    switch (command.op) {
      case "headers":
        return stream.respond({ ...replyHeaders, ...headersOf(command.metadata) }, { waitForTrailers: true })
      case "messages":
        open(entry)
        for (const message of command.messages) stream.write(frame(message))
        return
      case "burst":
        open(entry)
        return burst(command.id, stream, frame(command.message), command.count, emit)
      case "end": {
        const status = {
          "grpc-status": String(command.code),
          ...(command.message === "" ? {} : { "grpc-message": encodeURIComponent(command.message) }),
          ...headersOf(command.trailers)
        }
        entry.finished = true
        if (!stream.headersSent) return stream.respond({ ...replyHeaders, ...status }, { endStream: true })
        entry.trailers = status
        stream.end()
        return
      }
      case "respond":
        if (command.endStream) entry.finished = true
        return stream.respond(command.headers, command.endStream ? { endStream: true } : { waitForTrailers: true })
      case "data":
        open(entry)
        stream.write(command.bytes)
        if (command.endStream) stream.end()
        return
      case "trailers":
        open(entry)
        entry.trailers = Object.fromEntries(
          Object.entries(command.headers).map(([key, value]) => [key, typeof value === "string" ? value : [...value]])
        )
        if (command.poison.length > 0) socket.arm(command.poison, (flags) => (flags & END_STREAM) !== 0)
        stream.end()
        return
      case "reset":
        entry.finished = true
        return stream.close(command.code)
      case "goaway":
        return stream.session?.goaway(command.code, command.lastStreamId)
      case "destroy":
        entry.finished = true
        socket.destroy()
        return
      case "finish":
        socket.end()
        return
    }
  }
}
