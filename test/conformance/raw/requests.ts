import { Flag, frame, FrameType, message } from "./frames.ts"
import * as Hpack from "./hpack.ts"

export const PREDICT = "/cy.llm.AiInference/StreamPredict"

/** The request headers that gRPC asks for, and others. */
export const requestHeaders = (path = PREDICT, ...more: Hpack.HeaderList): Hpack.HeaderList => [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", path],
  [":authority", "sidecar"],
  ["te", "trailers"],
  ["content-type", "application/grpc"],
  ...more
]

/** A HEADERS frame with a whole block. */
export const headersFrame = (id: number, headers: Hpack.HeaderList, flags = 0): Buffer =>
  frame(FrameType.HEADERS, Flag.END_HEADERS | flags, id, Hpack.encode(headers))

/** A DATA frame. */
export const dataFrame = (id: number, payload: Uint8Array, end = false): Buffer =>
  frame(FrameType.DATA, end ? Flag.END_STREAM : 0, id, payload)

/** A whole unary-looking request: headers, one message, half-close. */
export const wholeRequest = (id: number, request: Uint8Array, ...more: Hpack.HeaderList): Buffer =>
  Buffer.concat([headersFrame(id, requestHeaders(PREDICT, ...more)), dataFrame(id, message(request), true)])
