import { putHead } from "./output.ts"
import {
  DEFAULT_MAX_FRAME,
  DEFAULT_TABLE,
  DEFAULT_WINDOW,
  ErrorCode,
  HEAD_BYTES,
  LARGEST_MAX_FRAME,
  MAX_WINDOW,
  SettingId
} from "./protocol.ts"

/** What we tell the peer in our SETTINGS (RFC 9113 §6.5.2). Frames are always limited to 16,384 bytes, push is off. */
export interface LocalSettings {
  /** Bytes that the peer may send on a stream before they are taken. */
  readonly initialWindow: number
  /** Streams that the peer may have open at once; one more is refused. Only told by a server. */
  readonly maxStreams: number
  /** Largest field section, counted as the RFC does: name + value + 32 a field. */
  readonly maxHeaderList: number
  /** Size of the HPACK table that the peer may use. */
  readonly headerTable: number
}

/** Bytes of one SETTINGS entry (§6.5.1). */
const ENTRY_BYTES = 6

/** Our SETTINGS frame. */
export const settingsFrame = (settings: LocalSettings, role: "client" | "server"): Uint8Array => {
  const entries: Array<readonly [number, number]> = []
  if (role === "client") entries.push([SettingId.ENABLE_PUSH, 0])
  else entries.push([SettingId.MAX_CONCURRENT_STREAMS, settings.maxStreams])
  if (settings.headerTable !== DEFAULT_TABLE) entries.push([SettingId.HEADER_TABLE_SIZE, settings.headerTable])
  if (settings.initialWindow !== DEFAULT_WINDOW) entries.push([SettingId.INITIAL_WINDOW_SIZE, settings.initialWindow])
  entries.push([SettingId.MAX_HEADER_LIST_SIZE, settings.maxHeaderList])
  const bytes = new Uint8Array(HEAD_BYTES + entries.length * ENTRY_BYTES)
  putHead(bytes, 0, bytes.length - HEAD_BYTES, 4, 0, 0)
  const view = new DataView(bytes.buffer)
  entries.forEach(([id, value], index) => {
    view.setUint16(HEAD_BYTES + index * ENTRY_BYTES, id)
    view.setUint32(HEAD_BYTES + index * ENTRY_BYTES + 2, value)
  })
  return bytes
}

/** What the peer has told us. */
export class PeerSettings {
  headerTable = DEFAULT_TABLE
  /** The smallest size of the table that the last frame named, which our encoder has to go down to (RFC 7541 §4.2). */
  lowestTable = DEFAULT_TABLE
  maxStreams = Number.POSITIVE_INFINITY
  initialWindow = DEFAULT_WINDOW
  maxFrame = DEFAULT_MAX_FRAME
  maxHeaderList = Number.POSITIVE_INFINITY

  /** Takes the entries of a SETTINGS frame, in their order; answers the error code if one is not allowed, else 0. */
  read(bytes: Uint8Array, from: number, length: number, role: "client" | "server"): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset + from, length)
    this.lowestTable = this.headerTable
    for (let at = 0; at < length; at += ENTRY_BYTES) {
      const error = this.#set(view.getUint16(at), view.getUint32(at + 2), role)
      if (error !== 0) return error
    }
    return 0
  }

  #set(id: number, value: number, role: "client" | "server"): number {
    switch (id) {
      case SettingId.HEADER_TABLE_SIZE:
        this.headerTable = value
        this.lowestTable = Math.min(this.lowestTable, value)
        return 0
      case SettingId.ENABLE_PUSH:
        // A server never sends 1.
        return value > 1 || (role === "client" && value === 1) ? ErrorCode.PROTOCOL_ERROR : 0
      case SettingId.MAX_CONCURRENT_STREAMS:
        this.maxStreams = value
        return 0
      case SettingId.INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW) return ErrorCode.FLOW_CONTROL_ERROR
        this.initialWindow = value
        return 0
      case SettingId.MAX_FRAME_SIZE:
        if (value < DEFAULT_MAX_FRAME || value > LARGEST_MAX_FRAME) return ErrorCode.PROTOCOL_ERROR
        this.maxFrame = value
        return 0
      case SettingId.MAX_HEADER_LIST_SIZE:
        this.maxHeaderList = value
        return 0
      default:
        return 0
    }
  }
}
