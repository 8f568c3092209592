import * as net from "node:net"
import { onTestFinished } from "vitest"
import { RawConnection, type RawOptions, type RawStream } from "./connection.ts"
import { Flag, frame, FrameType, message, PREFACE, settings } from "./frames.ts"
import * as Hpack from "./hpack.ts"

export const PREDICT = "/cy.llm.AiInference/StreamPredict"

/** The request headers that gRPC asks for, and others. */
export const requestHeaders = (path = PREDICT, ...more: Hpack.HeaderList): Hpack.HeaderList => [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", path],
  [":authority", "sidecar"],
  ["te", "trailers"],
  ["content-type", "application/grpc"],
  ...more
]

/** A HEADERS frame with a whole block. */
export const headersFrame = (id: number, headers: Hpack.HeaderList, flags = 0): Buffer =>
  frame(FrameType.HEADERS, Flag.END_HEADERS | flags, id, Hpack.encode(headers))

/** A DATA frame. */
export const dataFrame = (id: number, payload: Uint8Array, end = false): Buffer =>
  frame(FrameType.DATA, end ? Flag.END_STREAM : 0, id, payload)

/** A whole unary-looking request: headers, one message, half-close. */
export const wholeRequest = (id: number, request: Uint8Array, ...more: Hpack.HeaderList): Buffer =>
  Buffer.concat([headersFrame(id, requestHeaders(PREDICT, ...more)), dataFrame(id, message(request), true)])

export interface RawClientOptions extends RawOptions {
  readonly settings?: ReadonlyArray<readonly [id: number, value: number]> | undefined
}

/** A gateway that says exactly what the test writes. Closed after the test. */
export class RawClient {
  readonly connection: RawConnection

  private constructor(connection: RawConnection) {
    this.connection = connection
  }

  /** Connects to `host:port` and says the preface with these settings. */
  static async connect(address: string, options: RawClientOptions = {}): Promise<RawClient> {
    const cut = address.lastIndexOf(":")
    const socket = net.connect(Number(address.slice(cut + 1)), address.slice(0, cut))
    const client = new RawClient(new RawConnection(socket, "client", options))
    onTestFinished(() => client.connection.destroy())
    await client.send(PREFACE, settings(...(options.settings ?? [])))
    return client
  }

  send(...parts: ReadonlyArray<Uint8Array>): Promise<void> {
    return this.connection.send(...parts)
  }

  stream(id: number): RawStream {
    return this.connection.stream(id)
  }

  /** Sends a whole request and gives the record of its answer. */
  async request(id: number, request: Uint8Array, ...more: Hpack.HeaderList): Promise<RawStream> {
    await this.send(wholeRequest(id, request, ...more))
    return this.stream(id)
  }
}
