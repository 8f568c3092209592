/**
 * HTTP/2 frames (RFC 9113 §4.1, §6) written and read for tests, apart from the code that is tested.
 */

export const TYPES = [
  "DATA",
  "HEADERS",
  "PRIORITY",
  "RST_STREAM",
  "SETTINGS",
  "PUSH_PROMISE",
  "PING",
  "GOAWAY",
  "WINDOW_UPDATE",
  "CONTINUATION"
] as const

export const CODES = [
  "NO_ERROR",
  "PROTOCOL_ERROR",
  "INTERNAL_ERROR",
  "FLOW_CONTROL_ERROR",
  "SETTINGS_TIMEOUT",
  "STREAM_CLOSED",
  "FRAME_SIZE_ERROR",
  "REFUSED_STREAM",
  "CANCEL",
  "COMPRESSION_ERROR",
  "CONNECT_ERROR",
  "ENHANCE_YOUR_CALM",
  "INADEQUATE_SECURITY",
  "HTTP_1_1_REQUIRED"
] as const

export type Code = (typeof CODES)[number]

export const END_STREAM = 1
export const ACK = 1
export const END_HEADERS = 4
export const PADDED = 8
export const PRIORITY = 0x20

export const PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

export const concat = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}

export const u32 = (value: number): Uint8Array => Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value)

/** Any frame; `length` may lie. */
export const frame = (
  type: number,
  flags: number,
  id: number,
  payload: Uint8Array = new Uint8Array(0),
  length: number = payload.length
): Uint8Array => concat(Uint8Array.of(length >>> 16, length >>> 8, length, type, flags), u32(id), payload)

const code = (name: Code): number => CODES.indexOf(name)

export const data = (id: number, payload: Uint8Array | string, flags = 0): Uint8Array =>
  frame(0, flags, id, typeof payload === "string" ? new TextEncoder().encode(payload) : payload)
export const headers = (id: number, block: Uint8Array, flags = END_HEADERS): Uint8Array => frame(1, flags, id, block)
export const priority = (id: number): Uint8Array => frame(2, 0, id, new Uint8Array(5))
export const rst = (id: number, name: Code = "CANCEL"): Uint8Array => frame(3, 0, id, u32(code(name)))
export const settings = (...entries: ReadonlyArray<readonly [id: number, value: number]>): Uint8Array =>
  frame(4, 0, 0, concat(...entries.map(([id, value]) => concat(Uint8Array.of(id >>> 8, id), u32(value)))))
export const settingsAck: Uint8Array = frame(4, ACK, 0)
export const ping = (flags = 0, payload: Uint8Array = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)): Uint8Array =>
  frame(6, flags, 0, payload)
export const goaway = (last: number, name: Code = "NO_ERROR"): Uint8Array =>
  frame(7, 0, 0, concat(u32(last), u32(code(name))))
export const windowUpdate = (id: number, by: number): Uint8Array => frame(8, 0, id, u32(by))
export const continuation = (id: number, block: Uint8Array, flags = END_HEADERS): Uint8Array =>
  frame(9, flags, id, block)

/** A frame that was read. */
export interface Frame {
  readonly type: number
  readonly flags: number
  readonly id: number
  readonly payload: Uint8Array
}

/** The whole frames in `bytes`, and what is left of them. */
export const readFrames = (bytes: Uint8Array): { readonly frames: Array<Frame>; readonly rest: Uint8Array } => {
  const frames: Array<Frame> = []
  let at = 0
  while (bytes.length - at >= 9) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, 9)
    const length = view.getUint32(0) >>> 8
    if (bytes.length - at - 9 < length) break
    frames.push({
      type: view.getUint8(3),
      flags: view.getUint8(4),
      id: view.getUint32(5),
      payload: bytes.slice(at + 9, at + 9 + length)
    })
    at += 9 + length
  }
  return { frames, rest: bytes.slice(at) }
}

export const read32 = (bytes: Uint8Array, at: number): number =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at)

/** A frame in words: "RST_STREAM 1 CANCEL", "DATA 1 END_STREAM hello". Header blocks are told by `block`. */
export const show = (frame: Frame, block: (payload: Uint8Array) => string): string => {
  const { flags, id, payload, type } = frame
  const name = TYPES[type] ?? `type ${type}`
  const ends = (flags & END_STREAM) !== 0 ? " END_STREAM" : ""
  switch (name) {
    case "DATA":
      return `DATA ${id}${ends} ${new TextDecoder().decode(payload)}`.trimEnd()
    case "HEADERS":
      return `HEADERS ${id}${ends} ${block(payload)}`.trimEnd()
    case "RST_STREAM":
      return `RST_STREAM ${id} ${CODES[read32(payload, 0)]}`
    case "SETTINGS":
      return (flags & ACK) !== 0 ? "SETTINGS ACK" : "SETTINGS"
    case "PING":
      return `PING${(flags & ACK) !== 0 ? " ACK" : ""} ${Buffer.from(payload).toString("hex")}`
    case "GOAWAY":
      return `GOAWAY ${read32(payload, 0)} ${CODES[read32(payload, 4)]}`
    case "WINDOW_UPDATE":
      return `WINDOW_UPDATE ${id} ${read32(payload, 0)}`
    default:
      return `${name} ${id}`
  }
}
