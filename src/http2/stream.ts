import { ByteQueue } from "./byteQueue.ts"
import type { FieldList, HeaderBlock } from "./headerBlock.ts"
import type { Waypoint } from "./lookAhead.ts"
import { ErrorCode } from "./protocol.ts"
import type { StreamList } from "./streamList.ts"

/**
 * Who ended a stream before its time.
 *
 * - `peer`: its RST_STREAM; `local`: we, for a mistake of the peer's;
 * - `refused`: the peer has not seen it and will not: REFUSED_STREAM before any answer, GOAWAY below it (RFC 9113 §8.7), or
 *   it never left;
 * - `connection`: the connection is gone.
 */
export type ResetCause = "peer" | "local" | "refused" | "connection"

/** What the layer above hears of a stream. Called while frames are read or sent; it may use the stream and any other. */
export interface StreamHandler extends Waypoint {
  /** A client's stream: the response's head; not for interim responses (1xx). `block.endStream`: it is the whole answer. */
  onHeaders(block: HeaderBlock): void
  /**
   * Payload of DATA: what one read of the socket brought for this stream in a row, without a frame's head in between. `false`:
   * full; nothing more is handed up until {@link Http2Stream.resume}, and the stream's window holds the peer back.
   */
  onData(bytes: Uint8Array): boolean
  /** The peer's side is complete, and all before it was handed up; a client hears it also while it is full. */
  onEnd(trailers: HeaderBlock | undefined): void
  /** The stream is over. To a client all that came before is handed up first; a server's handler hears it at once. */
  onReset(code: number, cause: ResetCause): void
  /** There is room again, after {@link Http2Stream.write} had answered `false`. */
  onDrain(): void
}

/** What a stream asks of its connection. */
export interface StreamHost {
  readonly role: "client" | "server"
  /** The time of the last tick. */
  readonly now: number
  /** Something wants to leave. */
  submit(stream: Http2Stream): void
  /** `true`: `bytes` have left as one frame; only for a stream on which nothing waits. */
  sendNow(stream: Http2Stream, bytes: Uint8Array): boolean
  /** RST_STREAM, and the stream is forgotten. */
  abandon(stream: Http2Stream, code: number): void
  /** The stream's window goes up by what was taken. */
  reopen(stream: Http2Stream): void
}

/** What may wait on a stream before the writer is told to stop. */
export const OUTBOX_BYTES = 16_384

/**
 * A stream of a connection (RFC 9113 §5). The states of §5.1 are `localEnd`, `remoteEnd` and `closed`.
 *
 * Everything but the methods belongs to the connection.
 */
export class Http2Stream {
  // What a DATA frame that comes or goes reads or moves stands together, and what both need in the middle: with thousands of
  // streams it is not in the cache.
  handler: StreamHandler | undefined
  /** What the peer may send. */
  recvWindow: number
  /** What was taken and not yet given back. */
  recvCredit = 0
  /** Bytes that `content-length` still announces; −1: it says nothing. */
  announced = -1
  /** END_STREAM has come. */
  remoteEnd = false
  /** The response's head has come. */
  headed = false
  #paused: boolean
  readonly #host: StreamHost
  /** 0 while it waits for a place (the peer's SETTINGS_MAX_CONCURRENT_STREAMS). */
  id: number
  closed = false
  /** What we may send; below zero after a SETTINGS change (§6.9.2). */
  sendWindow: number
  /** A head has left, or waits to. */
  headGiven = false
  /** Head that has not left yet. */
  head: FieldList | undefined
  /** {@link Http2Stream.end} was called. */
  ending = false
  outbox: ByteQueue | undefined

  /** The writer was told to stop. */
  full = false
  trailers: FieldList | undefined
  /** END_STREAM has left. */
  localEnd = false
  /** The request, until it is handed up. */
  request: HeaderBlock | undefined

  #inbox: ByteQueue | undefined
  #remoteTrailers: HeaderBlock | undefined
  #endTold = false
  #resetCode = -1
  #resetCause: ResetCause = "peer"
  #resetTold = false

  /** The list that the stream stands in, and its neighbours there. */
  list: StreamList | undefined
  next: Http2Stream | undefined
  previous: Http2Stream | undefined
  /** When {@link Http2Stream.end} was called, or something left after it: for the time limits. */
  movedAt = 0

  constructor(host: StreamHost, id: number, sendWindow: number, recvWindow: number) {
    this.#host = host
    this.id = id
    this.sendWindow = sendWindow
    this.recvWindow = recvWindow
    this.#paused = host.role === "server"
  }

  /** See {@link Waypoint}: of bytes that come. */
  get ahead(): Waypoint | undefined {
    return this.closed ? undefined : this.handler
  }

  /** A server's stream: who hears it. Nothing is handed up until {@link Http2Stream.resume}; a reset is. */
  attach(handler: StreamHandler): void {
    this.handler = handler
    this.#settle()
  }

  /** Bytes that were written and have not left. */
  get pendingBytes(): number {
    return this.outbox === undefined ? 0 : this.outbox.size
  }

  /** A server's stream: the head of the response, `:status` first; once. */
  respond(fields: FieldList): void {
    if (this.closed || this.headGiven) return
    this.headGiven = true
    this.head = fields
    this.#host.submit(this)
  }

  /** Sends DATA; `bytes` must not change afterwards. `false`: full, wait for `onDrain`. Ignored after the end. */
  write(bytes: Uint8Array): boolean {
    if (this.closed || this.ending || bytes.length === 0) return true
    const outbox = this.outbox
    if ((outbox === undefined || outbox.size === 0) && this.#host.sendNow(this, bytes)) return true
    const queue = outbox ?? (this.outbox = new ByteQueue())
    queue.push(bytes)
    this.#host.submit(this)
    if (queue.size < OUTBOX_BYTES) return true
    this.full = true
    return false
  }

  /** Our side is complete: with trailers, or with END_STREAM on the last DATA. What was written leaves before. Once. */
  end(trailers?: FieldList): void {
    if (this.closed || this.ending) return
    this.ending = true
    this.trailers = trailers
    this.movedAt = this.#host.now
    this.#host.submit(this)
  }

  /** Hand up what comes, after a handler that was full; and the first time on a server's stream. */
  resume(): void {
    if (!this.#paused) return
    this.#paused = false
    while (!this.#paused) {
      const block = this.#inbox?.shift()
      if (block === undefined) break
      this.recvCredit += block.length
      if (this.handler?.onData(block) === false) this.#paused = true
    }
    if (!this.#paused && this.recvCredit > 0 && !this.remoteEnd && !this.closed) this.#host.reopen(this)
    this.#settle()
  }

  /** Ends the stream with RST_STREAM (§6.4); the handler hears nothing more. */
  reset(code: number = ErrorCode.CANCEL): void {
    this.#endTold = true
    this.#resetTold = true
    this.#inbox = undefined
    if (!this.closed) this.#host.abandon(this, code)
  }

  /** The rest of the answer is read and dropped; our own side ends. For a client that may not reset any more. */
  discard(): void {
    this.handler = discarding
    if (!this.ending) {
      this.outbox?.clear()
      this.end()
    }
    this.resume()
  }

  /** DATA has come. */
  deliver(bytes: Uint8Array): void {
    if (this.#paused || this.handler === undefined) {
      this.#inbox ??= new ByteQueue()
      this.#inbox.push(bytes)
      return
    }
    this.recvCredit += bytes.length
    if (this.handler.onData(bytes)) {
      if (!this.remoteEnd && !this.closed) this.#host.reopen(this)
    } else this.#paused = true
  }

  /** END_STREAM has come. */
  finish(trailers: HeaderBlock | undefined): void {
    this.remoteEnd = true
    this.#remoteTrailers = trailers
    this.#settle()
  }

  /** The stream is over, by somebody else than the layer above. */
  fail(code: number, cause: ResetCause): void {
    this.#resetCode = code
    this.#resetCause = cause
    if (this.#host.role === "server") {
      this.#inbox = undefined
      this.#paused = false
      this.#endTold = true
    }
    this.#settle()
  }

  /** Room was made in the outbox. */
  drained(): void {
    if (!this.full) return
    this.full = false
    if (!this.closed && !this.ending) this.handler?.onDrain()
  }

  /**
   * Tells the end once everything before it was handed up: to a client that is full, too, since nothing more comes. What a
   * server's handler is told begins with {@link Http2Stream.resume}.
   */
  #settle(): void {
    const { handler } = this
    if (handler === undefined || (this.#inbox !== undefined && this.#inbox.size > 0)) return
    if (this.#paused && this.#host.role === "server") return
    if (this.remoteEnd && !this.#endTold) {
      this.#endTold = true
      handler.onEnd(this.#remoteTrailers)
    }
    if (this.#resetCode >= 0 && !this.#resetTold) {
      this.#resetTold = true
      handler.onReset(this.#resetCode, this.#resetCause)
    }
  }
}

const discarding: StreamHandler = {
  onHeaders: () => {},
  onData: () => true,
  onEnd: () => {},
  onReset: () => {},
  onDrain: () => {}
}
