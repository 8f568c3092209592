import * as net from "node:net"
import { Inbox, Recorder } from "../../support/events.ts"
import { health } from "../../support/protobuf.ts"
import { RawConnection, type RawOptions, type RawStream, valueOf } from "./connection.ts"
import { Flag, message, settings } from "./frames.ts"
import type { HeaderList } from "./hpack.ts"
import { dataFrame, headersFrame } from "./requests.ts"

export const RESPONSE: HeaderList = [[":status", "200"], ["content-type", "application/grpc"]]
export const OK: HeaderList = [["grpc-status", "0"]]

/** Response headers, these messages in a DATA frame each, trailers. */
export const wholeAnswer = (
  id: number,
  messages: ReadonlyArray<Uint8Array>,
  trailers: HeaderList = OK
): Buffer =>
  Buffer.concat([
    headersFrame(id, RESPONSE),
    ...messages.map((payload) => dataFrame(id, message(payload))),
    headersFrame(id, trailers, Flag.END_STREAM)
  ])

export interface RawWorkerOptions extends RawOptions {
  readonly settings?: ReadonlyArray<readonly [id: number, value: number]> | undefined
  /** Sees each call first; `true`: it is dealt with, and nobody may take it. */
  readonly onCall?: ((stream: RawStream) => boolean) | undefined
}

/** A worker on a Unix socket that answers exactly what the test writes; Health it answers by itself. */
export class RawWorker {
  readonly #server: net.Server
  readonly #calls = new Inbox<RawStream>()
  readonly #onCall: (stream: RawStream) => boolean
  readonly connections = new Recorder<RawConnection>()

  private constructor(server: net.Server, onCall: (stream: RawStream) => boolean) {
    this.#server = server
    this.#onCall = onCall
  }

  static start(path: string, options: RawWorkerOptions = {}): Promise<RawWorker> {
    return new Promise((resolve, reject) => {
      const server = net.createServer((socket) => {
        const connection = new RawConnection(socket, "server", options, (stream) => worker.#take(stream))
        void connection.send(settings(...(options.settings ?? [])))
        worker.connections.push(connection)
      })
      const worker = new RawWorker(server, options.onCall ?? (() => false))
      server.once("error", reject)
      server.listen(path, () => resolve(worker))
    })
  }

  /** The next call that is not Health; with `header`, the one that carries it. */
  nextCall(header?: readonly [name: string, value: string]): Promise<RawStream> {
    return this.#calls.take((stream) =>
      header === undefined || valueOf(stream.blocks.all[0] ?? [], header[0]) === header[1]
    )
  }

  /** After a test that failed: calls go to the next one, and to it alone. */
  forget(): void {
    this.#calls.forget()
  }

  async close(): Promise<void> {
    for (const connection of this.connections.all) connection.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #take(stream: RawStream): void {
    const path = valueOf(stream.blocks.all[0] ?? [], ":path")
    if (path !== "/cy.llm.AiInference/Health") {
      if (!this.#onCall(stream)) this.#calls.offer(stream)
      return
    }
    void stream.connection.send(wholeAnswer(stream.id, [health(true)]))
  }
}
