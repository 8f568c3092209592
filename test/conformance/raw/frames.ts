/**
 * HTTP/2 frames by hand (RFC 9113 §4 and §6), for peers that must do what no library lets them do: odd framing in the
 * conformance tests, and a load that costs next to nothing in the benchmark.
 */

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9
} as const

export const Flag = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6
} as const

export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  ENHANCE_YOUR_CALM: 11
} as const

/** What a client says first. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1")

const HEADER_BYTES = 9

/** One frame as bytes. */
export const frame = (
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = new Uint8Array()
): Buffer => {
  const out = Buffer.allocUnsafe(HEADER_BYTES + payload.length)
  out.writeUIntBE(payload.length, 0, 3)
  out[3] = type
  out[4] = flags
  out.writeUInt32BE(streamId, 5)
  out.set(payload, HEADER_BYTES)
  return out
}

export const settings = (...pairs: ReadonlyArray<readonly [id: number, value: number]>): Buffer => {
  const payload = Buffer.alloc(6 * pairs.length)
  pairs.forEach(([id, value], i) => {
    payload.writeUInt16BE(id, 6 * i)
    payload.writeUInt32BE(value, 6 * i + 2)
  })
  return frame(FrameType.SETTINGS, 0, 0, payload)
}

export const settingsAck = (): Buffer => frame(FrameType.SETTINGS, Flag.ACK, 0)

const uint32 = (...values: ReadonlyArray<number>): Buffer => {
  const out = Buffer.alloc(4 * values.length)
  values.forEach((value, i) => out.writeUInt32BE(value, 4 * i))
  return out
}

export const windowUpdate = (streamId: number, by: number): Buffer =>
  frame(FrameType.WINDOW_UPDATE, 0, streamId, uint32(by))

export const rstStream = (streamId: number, code: number): Buffer =>
  frame(FrameType.RST_STREAM, 0, streamId, uint32(code))

export const ping = (ack: boolean, payload: Uint8Array = new Uint8Array(8)): Buffer =>
  frame(FrameType.PING, ack ? Flag.ACK : 0, 0, payload)

export const goaway = (lastStreamId: number, code: number): Buffer =>
  frame(FrameType.GOAWAY, 0, 0, uint32(lastStreamId, code))

/** A DATA or HEADERS payload with `padding` bytes of padding (the frame needs {@link Flag.PADDED}). */
export const padded = (payload: Uint8Array, padding: number): Buffer =>
  Buffer.concat([Uint8Array.of(padding), payload, new Uint8Array(padding)])

/** A gRPC message with its prefix. */
export const message = (payload: Uint8Array, compressed = false): Buffer => {
  const out = Buffer.alloc(5 + payload.length)
  out[0] = compressed ? 1 : 0
  out.writeUInt32BE(payload.length, 1)
  out.set(payload, 5)
  return out
}

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly streamId: number
  /** Without the padding and, for HEADERS, without the priority fields. */
  readonly payload: Buffer
}

/** The first stream id or error code in a payload: WINDOW_UPDATE's increment, RST_STREAM's code, GOAWAY's stream. */
export const uint31 = (payload: Buffer, at = 0): number => payload.readUInt32BE(at) & 0x7fffffff

const strip = (type: number, flags: number, payload: Buffer): Buffer => {
  if (type !== FrameType.DATA && type !== FrameType.HEADERS) return payload
  let out = payload
  if ((flags & Flag.PADDED) !== 0) out = out.subarray(1, out.length - (out[0] ?? 0))
  if (type === FrameType.HEADERS && (flags & Flag.PRIORITY) !== 0) out = out.subarray(5)
  return out
}

/** Cuts frames from a byte stream. */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  /** Bytes to skip before the first frame: the client's preface. */
  #skip: number

  constructor(skip = 0) {
    this.#skip = skip
  }

  push(chunk: Buffer, onFrame: (frame: Frame) => void): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    if (this.#skip > 0) {
      if (bytes.length < this.#skip) {
        this.#rest = bytes
        return
      }
      bytes = bytes.subarray(this.#skip)
      this.#skip = 0
    }
    let at = 0
    while (bytes.length - at >= HEADER_BYTES) {
      const length = bytes.readUIntBE(at, 3)
      const end = at + HEADER_BYTES + length
      if (end > bytes.length) break
      const type = bytes[at + 3] ?? 0
      const flags = bytes[at + 4] ?? 0
      const streamId = uint31(bytes, at + 5)
      onFrame({ type, flags, streamId, payload: strip(type, flags, bytes.subarray(at + HEADER_BYTES, end)) })
      at = end
    }
    this.#rest = at === bytes.length ? Buffer.alloc(0) : bytes.subarray(at)
  }
}
