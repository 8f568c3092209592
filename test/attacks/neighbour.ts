import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import * as tls from "node:tls"
import { RawConnection, type RawStream } from "../conformance/raw/connection.ts"
import { message, PREFACE, settings } from "../conformance/raw/frames.ts"
import { dataFrame, headersFrame, wholeRequest } from "../conformance/raw/requests.ts"
import { type RawWorker, RESPONSE } from "../conformance/raw/worker.ts"
import { Cutter, request, tokens } from "../support/protobuf.ts"

const STREAMS = 8
/** Between two tokens of a stream. */
const GAP_MILLIS = 10

const ca = path.join(import.meta.dirname, "../fixtures/tls/ca.crt")

/** How long tokens took from the worker's socket to the gateway, in milliseconds. */
export interface Latency {
  readonly p50: number
  readonly p99: number
  readonly max: number
  readonly tokens: number
}

/** A gateway that does nobody any harm: some streams, a token each hundredth of a second on each. */
export class Neighbour {
  readonly #connection: RawConnection
  readonly #served: ReadonlyArray<RawStream>
  readonly #sentAt: Array<Array<number>>
  readonly #timer: NodeJS.Timeout
  #millis: Array<number> = []

  private constructor(connection: RawConnection, served: ReadonlyArray<RawStream>) {
    this.#connection = connection
    this.#served = served
    this.#sentAt = served.map(() => [])
    served.forEach((_, at) => void this.#read(at).catch(() => undefined))
    this.#timer = setInterval(() => this.#send(), GAP_MILLIS)
  }

  static async open(address: string, secure: boolean, worker: RawWorker): Promise<Neighbour> {
    const cut = address.lastIndexOf(":")
    const to = { host: address.slice(0, cut), port: Number(address.slice(cut + 1)) }
    const socket = secure
      ? tls.connect({ ...to, ca: fs.readFileSync(ca), servername: "localhost", ALPNProtocols: ["h2"] })
      : net.connect(to)
    const connection = new RawConnection(socket, "client")
    await connection.send(PREFACE, settings())
    const asked = request({ prompt: "asked", tenant: "t", playerId: "p" })
    const served: Array<RawStream> = []
    for (let at = 0; at < STREAMS; at++) {
      await connection.send(wholeRequest(2 * at + 1, asked, ["x-neighbour", String(at)]))
      const stream = await worker.nextCall(["x-neighbour", String(at)])
      await stream.connection.send(headersFrame(stream.id, RESPONSE))
      served.push(stream)
    }
    return new Neighbour(connection, served)
  }

  /** What it has seen since it was asked last. */
  latency(): Latency {
    const sorted = this.#millis.toSorted((a, b) => a - b)
    this.#millis = []
    const at = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN
    return { p50: at(0.5), p99: at(0.99), max: at(1), tokens: sorted.length }
  }

  close(): void {
    clearInterval(this.#timer)
    this.#connection.destroy()
  }

  #send(): void {
    this.#served.forEach((stream, at) => {
      const sent = this.#sentAt[at] ?? []
      const [token = Buffer.alloc(0)] = tokens(1, sent.length)
      sent.push(performance.now())
      void stream.connection.send(dataFrame(stream.id, message(token)))
    })
  }

  async #read(at: number): Promise<void> {
    const stream = this.#connection.stream(2 * at + 1)
    const cutter = new Cutter()
    let seen = 0
    for (let pieces = 1;; pieces++) {
      await stream.data.count(pieces, "tokens")
      const now = performance.now()
      for (const _ of cutter.push(stream.data.all[pieces - 1] ?? Buffer.alloc(0))) {
        this.#millis.push(now - (this.#sentAt[at]?.[seen++] ?? Number.NaN))
      }
    }
  }
}
