import type { Socket } from "node:net"
import type { LimitName } from "../../http2/budget.ts"
import type { CloseReason, ConnectionHandler } from "../../http2/connectionTypes.ts"
import type { Loop } from "../../http2/driver/loop.ts"
import { SocketDriver } from "../../http2/driver/socketDriver.ts"
import type { HeaderBlock } from "../../http2/headerBlock.ts"
import type { Foreign } from "../../http2/preface.ts"
import { ErrorCode, errorName } from "../../http2/protocol.ts"
import type { Http2Stream } from "../../http2/stream.ts"
import type { ServerCall } from "../../services/Wire.ts"
import type { ConnectionReport } from "./connectionReport.ts"

/**
 * A backstop far above `[server] max_concurrent_streams`: C-core gateways queue silently at this limit, while we refuse with a
 * status.
 */
const MAX_STREAMS = 8192
/** A gateway that answers no PING is gone. */
const KEEPALIVE_MILLIS = 30_000
const KEEPALIVE_TIMEOUT_MILLIS = 20_000

/** What the server gives each of its connections. */
export interface Front {
  readonly loop: Loop
  readonly report: ConnectionReport
  readonly slowReaderMillis: number
  /** Resets a second that a gateway may send for long. */
  readonly resetsPerSecond: number
  onCall(stream: Http2Stream, block: HeaderBlock, arrivedAt: number, peer: ServerCall["peer"]): void
  /** The connection carries calls, or none any more. */
  onBusy(connection: GatewayConnection, busy: boolean): void
  /** All that was to be said is with the socket, or the socket is gone. */
  onDone(connection: GatewayConnection): void
}

/** One gateway's connection, from its first byte to its end. */
export class GatewayConnection implements ConnectionHandler {
  readonly driver: SocketDriver
  readonly peer: ServerCall["peer"]
  readonly #front: Front
  #foreign: Foreign | undefined

  constructor(front: Front, socket: Socket, peer: ServerCall["peer"], encrypted: boolean) {
    this.#front = front
    this.peer = peer
    this.driver = new SocketDriver(front.loop, socket, encrypted, {
      role: "server",
      settings: { maxStreams: MAX_STREAMS },
      keepaliveMillis: KEEPALIVE_MILLIS,
      keepaliveTimeoutMillis: KEEPALIVE_TIMEOUT_MILLIS,
      stallMillis: front.slowReaderMillis,
      rates: { resets: { burst: 5 * front.resetsPerSecond, perSecond: front.resetsPerSecond } },
      http1Text: "This port speaks gRPC (HTTP/2); for people there is the metrics port, 9090 by default."
    }, this)
    const done = (): void => front.onDone(this)
    socket.once("finish", done)
    socket.once("close", done)
  }

  /** Says GOAWAY; without a call it is over at once, for another needs its place. */
  dismiss(): void {
    const { connection } = this.driver
    connection.goAway()
    if (!connection.over) return
    this.driver.flush()
    this.driver.destroy()
  }

  onRequest(stream: Http2Stream, block: HeaderBlock): void {
    this.#front.onBusy(this, true)
    this.#front.onCall(stream, block, this.driver.arrivedAt, this.peer)
  }

  onIdle(): void {
    this.#front.onBusy(this, false)
  }

  onLimit(limit: LimitName): void {
    this.#front.report.limit(limit, this.peer.address)
  }

  onForeign(what: Foreign): void {
    this.#foreign = what
  }

  onClose(reason: CloseReason): void {
    const { report } = this.#front
    if (this.#foreign !== undefined) report.closed(foreignWord[this.#foreign], this.peer.address, reason.detail, true)
    else if (reason.by === "transport") report.closed("none", this.peer.address, reason.detail, false)
    else {
      const wrong = reason.code !== ErrorCode.NO_ERROR
      report.closed(errorName(reason.code).toLowerCase(), this.peer.address, reason.detail, wrong)
    }
  }

  onReady(): void {}
  onGoaway(): void {}
}

const foreignWord: Readonly<Record<Foreign, string>> = {
  http1: "http1",
  tls: "tls_on_plaintext",
  other: "not_http2"
}
