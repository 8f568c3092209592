import { type Metadata, noMetadata, type Status } from "./Wire.ts"

/** gRPC status codes by name (grpc/grpc doc/statuscodes.md). */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16
} as const

const names = Object.keys(Code)

/** `UNAVAILABLE` for 14; `CODE_99` for a number that gRPC does not know. */
export const codeName = (code: number): string => names[code] ?? `CODE_${code}`

/** A status without trailers, unless some are given. */
export const make = (code: number, message = "", metadata: Metadata = noMetadata): Status => ({
  code,
  message,
  metadata
})

/** OK, without trailers. */
export const ok: Status = make(Code.OK)
