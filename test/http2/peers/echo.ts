import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import * as tls from "node:tls"
import type { CloseReason, ConnectionHandler } from "../../../src/http2/connectionTypes.ts"
import { Loop } from "../../../src/http2/driver/loop.ts"
import { SocketDriver } from "../../../src/http2/driver/socketDriver.ts"
import type { HeaderBlock } from "../../../src/http2/headerBlock.ts"
import type { Http2Stream } from "../../../src/http2/stream.ts"

const fixtures = path.join(import.meta.dirname, "../../fixtures/tls")
export const CA_FILE = path.join(fixtures, "ca.crt")
export const CERT_FILE = path.join(fixtures, "server.crt")
export const KEY_FILE = path.join(fixtures, "server.key")

/** What a test sees of a server: where it is, and how its connections have ended. */
export interface EchoServer {
  readonly port: number
  /** Of every connection that has ended with anything but NO_ERROR by the peer's or our own doing. */
  readonly faults: Array<CloseReason>
  readonly close: () => Promise<void>
}

/** Sends back each body as it comes, behind a head; trailers say how many bytes there were. `/big` sends 300,000 bytes. */
const onRequest = (stream: Http2Stream, request: HeaderBlock): void => {
  const grpc = request.get("content-type")?.startsWith("application/grpc") === true
  let bytes = 0
  const done = (): void => stream.end(["grpc-status", "0", "x-bytes", String(bytes)])
  stream.attach({
    onHeaders: () => {},
    onData: (chunk) => {
      bytes += chunk.length
      // Bytes of a read are only lent.
      return request.path === "/sink" || stream.write(chunk.slice())
    },
    onEnd: () => {
      if (request.path === "/big") stream.write(new Uint8Array(300_000).fill(0x62))
      done()
    },
    onReset: () => {},
    onDrain: () => stream.resume()
  })
  stream.respond([":status", "200", "content-type", grpc ? "application/grpc" : "text/plain", "x-path", request.path])
  stream.resume()
}

const handlerOf = (faults: Array<CloseReason>): ConnectionHandler => ({
  onReady: () => {},
  onRequest,
  onGoaway: () => {},
  onLimit: (limit) => faults.push({ code: 11, by: "us", detail: limit }),
  onForeign: (what) => faults.push({ code: 1, by: "us", detail: what }),
  onIdle: () => {},
  onClose: (reason) => {
    if (reason.code !== 0) faults.push(reason)
  }
})

/** The endpoint as a server on a port of its own. */
export const startEcho = async (secure: boolean): Promise<EchoServer> => {
  const loop = new Loop()
  const faults: Array<CloseReason> = []
  const drivers = new Set<SocketDriver>()
  const accept = (socket: net.Socket): void => {
    socket.setNoDelay(true)
    const driver = new SocketDriver(loop, socket, secure, { role: "server" }, handlerOf(faults))
    drivers.add(driver)
    socket.once("close", () => drivers.delete(driver))
  }
  const server = secure
    ? tls.createServer(
      { cert: fs.readFileSync(CERT_FILE), key: fs.readFileSync(KEY_FILE), ALPNProtocols: ["h2"] },
      accept
    )
    : net.createServer(accept)
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject)
    server.listen(0, "127.0.0.1", resolve)
  })
  const address = server.address()
  if (address === null || typeof address === "string") throw new Error("no port")
  return {
    port: address.port,
    faults,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        for (const driver of drivers) driver.destroy()
      })
  }
}

/** What a call has come to. */
export interface Answer {
  readonly status: number
  readonly body: Buffer
  readonly fields: ReadonlyArray<string>
  readonly trailers: ReadonlyArray<string> | undefined
  /** RST_STREAM, or the connection's end; undefined: it ended well. */
  readonly reset: number | undefined
}

/** The endpoint as a client of one server. */
export class EchoClient {
  readonly #driver: SocketDriver
  readonly #authority: string
  readonly #scheme: string
  readonly faults: Array<CloseReason> = []
  readonly closed: Promise<void>

  private constructor(socket: net.Socket, authority: string, secure: boolean) {
    this.#authority = authority
    this.#scheme = secure ? "https" : "http"
    this.#driver = new SocketDriver(new Loop(), socket, secure, { role: "client" }, handlerOf(this.faults))
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()))
  }

  static connect(port: number, secure: boolean): Promise<EchoClient> {
    const socket = secure
      ? tls.connect({
        port,
        host: "127.0.0.1",
        servername: "localhost",
        ca: fs.readFileSync(CA_FILE),
        ALPNProtocols: ["h2"]
      })
      : net.connect(port, "127.0.0.1")
    return new Promise((resolve, reject) => {
      socket.once("error", reject)
      socket.once(secure ? "secureConnect" : "connect", () => {
        socket.setNoDelay(true)
        socket.removeListener("error", reject)
        resolve(new EchoClient(socket, `localhost:${port}`, secure))
      })
    })
  }

  /** One call; `body` is sent piece by piece, each once the one before has found room. */
  call(
    path: string,
    body: ReadonlyArray<Uint8Array>,
    fields: ReadonlyArray<string> = ["te", "trailers", "content-type", "application/grpc"],
    method = "POST"
  ): Promise<Answer> {
    const { promise, reject, resolve } = Promise.withResolvers<Answer>()
    const chunks: Array<Uint8Array> = []
    let head: HeaderBlock | undefined
    const done = (trailers: HeaderBlock | undefined, reset: number | undefined): void =>
      resolve({
        status: head?.status ?? 0,
        body: Buffer.concat(chunks),
        fields: head?.fields ?? [],
        trailers: trailers?.fields,
        reset
      })
    let next = 0
    const pump = (stream: Http2Stream): void => {
      while (next < body.length) if (!stream.write(body[next++] ?? new Uint8Array(0))) return
      stream.end()
    }
    const stream = this.#driver.connection.open(
      [":method", method, ":scheme", this.#scheme, ":path", path, ":authority", this.#authority, ...fields],
      {
        onHeaders: (block) => {
          head = block
        },
        onData: (bytes) => {
          chunks.push(bytes.slice())
          return true
        },
        onEnd: (trailers) => done(trailers, undefined),
        onReset: (code) => done(undefined, code),
        onDrain: () => stream !== undefined && pump(stream)
      }
    )
    if (stream === undefined) reject(new Error("the connection takes no new streams"))
    else pump(stream)
    return promise
  }

  drain(): void {
    this.#driver.connection.drain()
  }

  close(): void {
    this.#driver.destroy()
  }
}
