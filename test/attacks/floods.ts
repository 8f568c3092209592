import {
  ErrorCode,
  Flag,
  frame,
  FrameType,
  ping,
  rstStream,
  settings,
  windowUpdate
} from "../conformance/raw/frames.ts"
import * as Hpack from "../conformance/raw/hpack.ts"
import { dataFrame, headersFrame, requestHeaders, wholeRequest } from "../conformance/raw/requests.ts"
import { request } from "../support/protobuf.ts"

const asked = request({ prompt: "asked", tenant: "t", playerId: "p" })

/** What one connection does that has a budget: bursts of frames, again and again. */
export interface Flood {
  readonly name: string
  /** The label of `sidecar_http2_limits_total`. */
  readonly limit: string
  /** Sent once, before. */
  readonly first?: Buffer
  /** The next burst. */
  readonly burst: (number: number) => Buffer
}

const many = (count: number, of: (i: number) => Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => of(i)))

/** 100 streams a burst: their identifiers. */
const id = (burst: number, i: number): number => 2 * (burst * 100 + i) + 1

/** Made once: the limit is a rate, and an attacker who is busy making frames stays below it. */
const updates = many(20_000, () => windowUpdate(0, 1))

/** Each is cut off with ENHANCE_YOUR_CALM. */
export const floods: ReadonlyArray<Flood> = [
  {
    name: "rapid reset (CVE-2023-44487)",
    limit: "resets",
    burst: (n) =>
      many(100, (i) => Buffer.concat([wholeRequest(id(n, i), asked), rstStream(id(n, i), ErrorCode.CANCEL)]))
  },
  {
    name: "streams that the sidecar is made to reset, by window updates of 0 (CVE-2025-8671)",
    limit: "made_resets",
    burst: (n) => many(100, (i) => Buffer.concat([headersFrame(id(n, i), requestHeaders()), windowUpdate(id(n, i), 0)]))
  },
  {
    name: "streams that the sidecar is made to reset, by DATA after their end (CVE-2025-8671)",
    limit: "made_resets",
    burst: (n) => many(100, (i) => Buffer.concat([wholeRequest(id(n, i), asked), dataFrame(id(n, i), Buffer.of(0))]))
  },
  { name: "SETTINGS without end (CVE-2019-9515)", limit: "settings", burst: () => many(100, () => settings([4, 1])) },
  {
    name: "PING without end (CVE-2019-9512)",
    limit: "pings",
    burst: () => many(100, () => ping(false, Buffer.alloc(8)))
  },
  {
    name: "empty DATA without end (CVE-2019-9518)",
    limit: "empty_data",
    first: headersFrame(1, requestHeaders()),
    burst: () => many(100, () => dataFrame(1, Buffer.alloc(0)))
  },
  {
    name: "PRIORITY without end (CVE-2019-9513)",
    limit: "ignored_frames",
    burst: () => many(100, () => frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(5)))
  },
  {
    name: "frames of unknown types without end",
    limit: "ignored_frames",
    burst: () => many(100, () => frame(0x55, 0, 0, Buffer.alloc(10)))
  },
  {
    name: "window updates without end",
    limit: "window_updates",
    burst: () => updates
  },
  {
    name: "CONTINUATION without end, empty (CVE-2024-27316)",
    limit: "header_block",
    first: frame(FrameType.HEADERS, 0, 1, Hpack.encode(requestHeaders())),
    burst: () => many(100, () => frame(FrameType.CONTINUATION, 0, 1, Buffer.alloc(0)))
  },
  {
    name: "CONTINUATION without end, full (CVE-2024-27316)",
    limit: "header_block",
    first: frame(FrameType.HEADERS, 0, 1, Hpack.encode(requestHeaders())),
    burst: (n) => frame(FrameType.CONTINUATION, 0, 1, Hpack.encode([[`x-${n}`, "y".repeat(16_000)]]))
  }
]

/** The n-th block of a connection that unpacks to a thousandfold: an entry of 4000 octets in the table, and 12,000
 * references to it.
 */
export const bomb = (n: number): Buffer => {
  const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4000, "y")])
  const block = Buffer.concat([Hpack.encode(requestHeaders()), ...(n === 0 ? [entry] : []), Buffer.alloc(12_000, 0xbe)])
  return frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 2 * n + 1, block)
}
