import type { LimitName, Rates } from "./budget.ts"
import type { Copies } from "./copies.ts"
import type { HeaderBlock } from "./headerBlock.ts"
import type { SlabPool } from "./output.ts"
import type { Foreign } from "./preface.ts"
import { DEFAULT_TABLE, DEFAULT_WINDOW } from "./protocol.ts"
import type { LocalSettings } from "./settings.ts"
import type { Http2Stream } from "./stream.ts"

/** How a connection is set up. Times in milliseconds; 0 or undefined: no limit. */
export interface ConnectionOptions {
  readonly role: "client" | "server"
  readonly pool: SlabPool
  readonly copies: Copies
  /** Monotonic; the same clock as `Http2Connection.tick`. */
  readonly now: number
  readonly settings?: Partial<LocalSettings> | undefined
  /** Bytes that the peer may send on all streams together; given back as they arrive. Default 1 MiB. */
  readonly connectionWindow?: number | undefined
  readonly rates?: Partial<Rates> | undefined
  /** Time in which the peer's first SETTINGS, and the acknowledgement of ours, must have come. Default 10 s. */
  readonly settingsMillis?: number | undefined
  /** A peer that has said nothing for this long is asked whether it is there; default never. */
  readonly keepaliveMillis?: number | undefined
  /** Time for the answer to that. Default 20 s. */
  readonly keepaliveTimeoutMillis?: number | undefined
  /** How long a server waits for the client's END_STREAM after its own, before it resets with NO_ERROR (§8.1). Default 1 s. */
  readonly lingerMillis?: number | undefined
  /** How long an ended stream may wait for a peer that takes nothing of it, before it is reset with CANCEL. */
  readonly stallMillis?: number | undefined
  /** What a request in HTTP/1 is answered with. */
  readonly http1Text?: string | undefined
}

/** Why a connection takes no new streams and is, or will soon be, closed. */
export interface CloseReason {
  readonly code: number
  /** Whose doing it was: our GOAWAY, the peer's, or the socket's end without a word. */
  readonly by: "us" | "peer" | "transport"
  /** For the log. */
  readonly detail: string
}

/** The driver: whoever moves the bytes. */
export interface Transport {
  /** There is output, after there was none: take it at the end of the turn. */
  onOutput(): void
  /** There is much output: take some now, if the socket does. */
  onPressure(): void
  /** Requests have come: call `Http2Connection.turn` at the end of the turn. */
  onArrivals(): void
  /** All is said: close the socket once the output has left. */
  onEnd(): void
}

/** The layer above. */
export interface ConnectionHandler {
  /** The peer's first SETTINGS: it speaks HTTP/2. */
  onReady(): void
  /** A server's new stream: {@link Http2Stream.attach} a handler to it, or reset or answer it. */
  onRequest(stream: Http2Stream, request: HeaderBlock): void
  /** The peer's GOAWAY (§6.8): no new streams; those up to `lastStreamId` go on. */
  onGoaway(code: number, lastStreamId: number, debug: string): void
  /** A limit bit: the connection is being closed with ENHANCE_YOUR_CALM. */
  onLimit(limit: LimitName): void
  /** Not the client's preface. */
  onForeign(what: Foreign): void
  /** No stream is open any more. */
  onIdle(): void
  /** Once, after every stream has heard of it. */
  onClose(reason: CloseReason): void
}

/** What is told to the peer unless the options say otherwise. */
export const defaultSettings: LocalSettings = {
  initialWindow: DEFAULT_WINDOW,
  maxStreams: 1000,
  maxHeaderList: 65_536,
  headerTable: DEFAULT_TABLE
}
