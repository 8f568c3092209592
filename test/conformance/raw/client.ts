import * as net from "node:net"
import { onTestFinished } from "vitest"
import { RawConnection, type RawOptions, type RawStream } from "./connection.ts"
import { PREFACE, settings } from "./frames.ts"
import type { HeaderList } from "./hpack.ts"
import { wholeRequest } from "./requests.ts"

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
  async request(id: number, request: Uint8Array, ...more: HeaderList): Promise<RawStream> {
    await this.send(wholeRequest(id, request, ...more))
    return this.stream(id)
  }
}
