/** The numbers of HTTP/2 as they stand on the wire (RFC 9113). */

/** Frame types (§6). */
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

/** Frame flags (§6). */
export const Flag = { NONE: 0, END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 0x20 } as const

/** Error codes of RST_STREAM and GOAWAY (§7). */
export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13
} as const

const ERROR_NAMES: ReadonlyArray<string> = Object.keys(ErrorCode)

/** The name of an error code, for people and metrics; codes that the RFC does not know share one name. */
export const errorName = (code: number): string => ERROR_NAMES[code] ?? "UNKNOWN"

/** Identifiers of SETTINGS (§6.5.2). */
export const SettingId = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6
} as const

/** Bytes of a frame's head (§4.1). */
export const HEAD_BYTES = 9
/** Window of a stream and of the connection before anybody says otherwise (§6.5.2, §6.9.2). */
export const DEFAULT_WINDOW = 65_535
/** The largest window (§6.9.1), which is also the highest stream identifier (§5.1.1). */
export const MAX_WINDOW = 0x7fffffff
/** Payload that every endpoint takes in one frame (§4.2). */
export const DEFAULT_MAX_FRAME = 16_384
/** The most that SETTINGS_MAX_FRAME_SIZE can allow (§6.5.2). */
export const LARGEST_MAX_FRAME = 0xffffff
/** Size of the HPACK dynamic table before anybody says otherwise (§6.5.2). */
export const DEFAULT_TABLE = 4096

/** What a client says first (§3.4). */
export const PREFACE: Uint8Array = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

/** The length of the payload of the frame whose head is at `at` (RFC 9113 §4.1). */
export const payloadLength = (bytes: Uint8Array, at: number): number =>
  ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)

/** The stream of the frame whose head is at `at`; the reserved bit is ignored (RFC 9113 §4.1). */
export const streamId = (bytes: Uint8Array, at: number): number =>
  (((bytes[at + 5] ?? 0) & 0x7f) << 24) | ((bytes[at + 6] ?? 0) << 16) | ((bytes[at + 7] ?? 0) << 8) |
  (bytes[at + 8] ?? 0)
