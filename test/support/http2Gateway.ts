import * as http2 from "node:http2"
import * as net from "node:net"
import { type Deferred, deferred, Recorder } from "./events.ts"
import { type CallOptions, type FinalStatus, type GatewayCall, PREDICT } from "./gateway.ts"
import { PoisonSocket } from "./poison.ts"
import { Cutter, frame } from "./protobuf.ts"

export interface RawOptions extends CallOptions {
  /** Request headers as they are, over those that gRPC asks for. */
  readonly headers?: http2.OutgoingHttpHeaders
  /** Header fields that no library would send, written into the request's header block. */
  readonly poison?: ReadonlyArray<readonly [string, string]>
  /** `false`: nothing is read until {@link RawCall.read} or {@link RawCall.readAll}. */
  readonly reading?: boolean
  /** `false`: messages are only counted, for answers of hundreds of megabytes. */
  readonly keep?: boolean
}

/** A {@link GatewayCall} whose reader the test controls. */
export interface RawCall extends GatewayCall {
  readonly stream: http2.ClientHttp2Stream
  /** The HTTP/2 error code with which the stream was reset; 0: it was not. */
  readonly closed: Promise<number>
  /** Takes what has arrived, at most one chunk of `bytes`; gives the number of bytes. */
  readonly read: (bytes?: number) => number
  /** Reads everything from now on. */
  readonly readAll: () => void
  /** Writes bytes as they are, for messages that are none. */
  readonly write: (bytes: Uint8Array) => void
}

const valuesOf = (headers: http2.IncomingHttpHeaders): Map<string, ReadonlyArray<string>> =>
  new Map(
    Object.entries(headers).flatMap(([key, value]) =>
      value === undefined || key.startsWith(":")
        ? []
        : [[key, Array.isArray(value) ? value : String(value).split(", ")]]
    )
  )

const percentDecoded = (message: string): string => {
  try {
    return decodeURIComponent(message)
  } catch {
    return `not percent-encoded UTF-8: ${message}`
  }
}

const nothing = Buffer.alloc(0)

/** How a client reports a stream that ended without `grpc-status` (gRPC over HTTP/2, "Errors"). */
const codeOfReset = (code: number): number => {
  switch (code) {
    case http2.constants.NGHTTP2_REFUSED_STREAM:
      return 14
    case http2.constants.NGHTTP2_CANCEL:
      return 1
    case http2.constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return 8
    case http2.constants.NGHTTP2_INADEQUATE_SECURITY:
      return 7
    default:
      return 13
  }
}

/**
 * A gateway on bare HTTP/2: it can stop reading, keep a tiny window, send what libraries refuse to send, and it loses
 * no message when an error status follows.
 */
export class Http2Gateway {
  readonly session: http2.ClientHttp2Session
  readonly closed: Deferred<void> = deferred()
  readonly goaway: Deferred<{ readonly code: number; readonly lastStreamId: number }> = deferred()
  readonly #socket: PoisonSocket

  /** `window`: bytes a stream may send before the test reads. */
  constructor(address: string, window = 65_535) {
    const socket = address.startsWith("unix://")
      ? net.connect(address.slice("unix://".length))
      : net.connect(Number(address.slice(address.lastIndexOf(":") + 1)), address.slice(0, address.lastIndexOf(":")))
    this.#socket = new PoisonSocket(socket, "client")
    this.#socket.on("error", () => undefined)
    this.session = http2.connect("http://sidecar.test", {
      createConnection: () => this.#socket,
      settings: { initialWindowSize: window, enablePush: false, maxHeaderListSize: 1 << 20 }
    })
    this.session.on("error", () => undefined)
    this.session.on("goaway", (code, lastStreamId) => this.goaway.resolve({ code, lastStreamId }))
    this.session.once("close", () => this.closed.resolve())
  }

  call(options: RawOptions = {}): RawCall {
    if (options.poison !== undefined) this.#socket.arm(options.poison)
    const headers: http2.OutgoingHttpHeaders = {
      ":method": "POST",
      ":path": options.path ?? PREDICT,
      te: "trailers",
      "content-type": "application/grpc",
      ...(options.timeoutMillis === undefined ? {} : { "grpc-timeout": `${options.timeoutMillis}m` })
    }
    for (const [key, value] of options.metadata ?? []) {
      headers[key] = typeof value === "string" ? value : Buffer.from(value).toString("base64")
    }
    const stream = this.session.request({ ...headers, ...options.headers }, { endStream: false })
    const messages = new Recorder<Buffer>()
    const first = deferred<ReadonlyMap<string, ReadonlyArray<string>>>()
    const final = deferred<FinalStatus>()
    const closed = deferred<number>()
    const cutter = new Cutter()
    let answered = false
    let httpStatus = 0
    let trailers: Map<string, ReadonlyArray<string>> | undefined
    const take = (chunk: Buffer) => {
      for (const { message } of cutter.push(chunk)) messages.push(options.keep === false ? nothing : message)
    }
    stream.on("error", () => undefined)
    stream.on("response", (received) => {
      httpStatus = Number(received[":status"])
      if (received["grpc-status"] === undefined) {
        answered = true
        first.resolve(valuesOf(received))
      } else trailers = valuesOf(received)
    })
    stream.on("trailers", (received) => {
      trailers = valuesOf(received)
    })
    stream.on("close", () => {
      const code = stream.rstCode ?? 0
      const status = trailers?.get("grpc-status")?.[0]
      const message = trailers?.get("grpc-message")?.join(", ") ?? ""
      const cause = new Error(`the call has ended (${status ?? `reset ${code}`} ${message})`)
      first.reject(cause)
      messages.fail(cause)
      closed.resolve(code)
      final.resolve({
        code: status === undefined ? codeOfReset(code) : Number(status),
        message: status === undefined ? `reset ${code}, http ${httpStatus}` : percentDecoded(message),
        trailers: trailers ?? new Map(),
        trailersOnly: !answered
      })
    })
    if (options.reading !== false) stream.on("data", take)
    for (const message of options.requests ?? []) stream.write(frame(message))
    if (options.halfClose !== false) stream.end()
    return {
      stream,
      messages,
      headers: first.promise,
      status: final.promise,
      closed: closed.promise,
      send: (...more) => {
        for (const message of more) stream.write(frame(message))
      },
      write: (bytes) => void stream.write(bytes),
      halfClose: () => void stream.end(),
      cancel: () => stream.close(http2.constants.NGHTTP2_CANCEL),
      read: (bytes) => {
        const chunk: Buffer | null = bytes === undefined
          ? stream.read()
          : stream.read(Math.min(bytes, stream.readableLength))
        if (chunk === null) return 0
        take(chunk)
        return chunk.length
      },
      readAll: () => void stream.on("data", take)
    }
  }

  /** The connection is gone, without a word. */
  destroy(): void {
    this.#socket.destroy()
  }

  async close(): Promise<void> {
    this.session.destroy()
    await this.closed.promise
  }
}
