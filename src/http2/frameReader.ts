import { DEFAULT_MAX_FRAME, ErrorCode, FrameType, HEAD_BYTES, payloadLength, streamId } from "./protocol.ts"

/** Who hears the frames. Each method may close the connection: the reader then stops. */
export interface FrameSink {
  /** The connection is over: nothing more is read. */
  readonly over: boolean
  /** A frame begins at `at`, and more may follow it up to `end`. Answers from where on the sink wants to be told so again. */
  onAhead(chunk: Uint8Array, at: number, end: number): number
  /** Any frame but DATA, whole: its payload is `bytes` from `at`, `length` long, and may be used until this returns. */
  onFrame(type: number, flags: number, id: number, bytes: Uint8Array, at: number, length: number): void
  /** The head of a DATA frame; `length` is what counts against the windows (RFC 9113 §6.9.1). */
  onDataHead(flags: number, id: number, length: number): void
  /** Bytes of that frame, without padding. */
  onDataPart(chunk: Uint8Array, from: number, to: number): void
  /** The frame is whole. */
  onDataEnd(): void
  /** A frame of a type that is not known; its payload is skipped (§5.5). */
  onUnknown(): void
  /** The bytes are no HTTP/2 frames: a connection error (§5.4.1). */
  onReadError(code: number, detail: string): void
}

/**
 * How much of a peer's frames is dealt with in one turn of the event loop, in units of about a microsecond or two; the rest
 * of a read then waits for the next turn. A read of the socket may hold seven thousand frames of a byte, and thirty such
 * reads may come in one turn.
 */
export const TURN_UNITS = 2048
/** What a frame costs that opens, ends or moves streams; any other costs 1. */
export const COSTLY_UNITS = 16
/** Octets of a header block that cost one unit more. */
const BLOCK_OCTETS_A_UNIT = 64

const unitsOf = (type: number, length: number): number => {
  switch (type) {
    case FrameType.HEADERS:
    case FrameType.CONTINUATION:
      return COSTLY_UNITS + Math.floor(length / BLOCK_OCTETS_A_UNIT)
    case FrameType.RST_STREAM:
    case FrameType.SETTINGS:
    case FrameType.GOAWAY:
      return COSTLY_UNITS
    default:
      return 1
  }
}

/** The state between two bytes. */
const HEAD = 0
const PAYLOAD = 1
const PAD_LENGTH = 2
const DATA = 3
const SKIP = 4

/**
 * Finds frames in bytes as they come. DATA is passed on piece by piece where it lies; of all other frames the payload is
 * whole when it is passed on, put together only if it was split.
 */
export class FrameReader {
  readonly #sink: FrameSink
  readonly #maxFrame = DEFAULT_MAX_FRAME
  readonly #head = new Uint8Array(HEAD_BYTES)
  #headHave = 0
  #state = HEAD
  #type = 0
  #flags = 0
  #id = 0
  #length = 0
  /** Of DATA and of what is skipped: bytes that are still to come. */
  #left = 0
  #pad = 0
  #payload: Uint8Array | undefined
  #payloadHave = 0
  /** What is left of this turn. */
  #units = TURN_UNITS
  /** The stream whose header block goes on: only its CONTINUATION may follow (§6.10); 0: none. */
  continuation = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** A new turn of the event loop. */
  turn(): void {
    this.#units = TURN_UNITS
  }

  /** Something was done that costs more than the frame tells. */
  spend(units: number): void {
    this.#units -= units
  }

  /** Reads `from..end` of `chunk`, and answers where it has stopped: before the end only when this turn has seen enough. */
  read(chunk: Uint8Array, from: number, end: number): number {
    const sink = this.#sink
    let at = from
    let seen = from
    while (!sink.over) {
      switch (this.#state) {
        case HEAD:
          if (at >= end || this.#units <= 0) return at
          if (at >= seen && this.#headHave === 0) seen = sink.onAhead(chunk, at, end)
          if (this.#headHave === 0 && end - at >= HEAD_BYTES) {
            this.#begin(chunk, at)
            at += HEAD_BYTES
          } else {
            while (at < end && this.#headHave < HEAD_BYTES) this.#head[this.#headHave++] = chunk[at++] ?? 0
            if (this.#headHave < HEAD_BYTES) return at
            this.#headHave = 0
            this.#begin(this.#head, 0)
          }
          break
        case DATA:
          at = this.#data(chunk, at, end)
          if (this.#state === DATA) return at
          break
        case PAD_LENGTH:
          if (at >= end) return at
          this.#padLength(chunk[at++] ?? 0)
          break
        case PAYLOAD:
          if (this.#payload === undefined && end - at >= this.#length) {
            this.#state = HEAD
            at += this.#length
            sink.onFrame(this.#type, this.#flags, this.#id, chunk, at - this.#length, this.#length)
            break
          }
          at = this.#gather(chunk, at, end)
          if (this.#state === PAYLOAD) return at
          break
        default: {
          const skipped = Math.min(this.#left, end - at)
          at += skipped
          this.#left -= skipped
          if (this.#left > 0) return at
          this.#state = HEAD
        }
      }
    }
    return end
  }

  #fail(code: number, detail: string): void {
    this.#sink.onReadError(code, detail)
  }

  #begin(bytes: Uint8Array, at: number): void {
    const length = payloadLength(bytes, at)
    const type = bytes[at + 3] ?? 0
    const flags = bytes[at + 4] ?? 0
    const id = streamId(bytes, at)
    if (this.continuation !== 0 && (type !== FrameType.CONTINUATION || id !== this.continuation)) {
      return this.#fail(ErrorCode.PROTOCOL_ERROR, "a header block was interrupted by another frame")
    }
    if (length > this.#maxFrame) {
      return this.#fail(ErrorCode.FRAME_SIZE_ERROR, `a frame of ${length} bytes is over SETTINGS_MAX_FRAME_SIZE`)
    }
    this.#units -= unitsOf(type, length)
    this.#type = type
    this.#flags = flags
    this.#id = id
    this.#length = length
    if (type === FrameType.DATA) {
      if (id === 0) return this.#fail(ErrorCode.PROTOCOL_ERROR, "DATA on stream 0")
      this.#pad = 0
      this.#left = length
      this.#sink.onDataHead(flags, id, length)
      if ((flags & 8) === 0) this.#state = DATA
      else if (length === 0) this.#fail(ErrorCode.FRAME_SIZE_ERROR, "padded DATA without the length of its padding")
      else this.#state = PAD_LENGTH
    } else if (type <= FrameType.CONTINUATION) this.#state = PAYLOAD
    else {
      this.#state = SKIP
      this.#left = length
      this.#sink.onUnknown()
    }
  }

  #padLength(pad: number): void {
    this.#left--
    this.#pad = pad
    this.#state = DATA
    if (pad > this.#left) this.#fail(ErrorCode.PROTOCOL_ERROR, "the padding of DATA is longer than its payload")
  }

  #data(chunk: Uint8Array, from: number, end: number): number {
    const content = this.#left - this.#pad
    const size = Math.min(content, end - from)
    if (size > 0) {
      this.#left -= size
      this.#sink.onDataPart(chunk, from, from + size)
      if (size < content) return from + size
    } else if (content > 0) return from
    // Only padding is left; it is skipped after the end has been told.
    this.#state = HEAD
    if (this.#pad > 0) this.#state = SKIP
    this.#sink.onDataEnd()
    return from + size
  }

  #gather(chunk: Uint8Array, from: number, end: number): number {
    this.#payload ??= new Uint8Array(this.#length)
    const payload = this.#payload
    const size = Math.min(this.#length - this.#payloadHave, end - from)
    payload.set(chunk.subarray(from, from + size), this.#payloadHave)
    this.#payloadHave += size
    if (this.#payloadHave === this.#length) {
      this.#payload = undefined
      this.#payloadHave = 0
      this.#state = HEAD
      this.#sink.onFrame(this.#type, this.#flags, this.#id, payload, 0, this.#length)
    }
    return from + size
  }
}
