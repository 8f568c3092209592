import * as Status from "../../services/Status.ts"
import type { CallEnd, Metadata } from "../../services/Wire.ts"
import * as GrpcMessage from "../wire/grpcMessage.ts"

/** Statuses as they stand in HTTP/2 headers and RST_STREAM codes (gRPC over HTTP/2, "Responses" and "Errors"). */

const { Code } = Status

/** HTTP status without `grpc-status` (grpc/grpc doc/http-grpc-status-mapping.md). */
const HTTP_TO_GRPC: Readonly<Record<number, number>> = {
  400: Code.INTERNAL,
  401: Code.UNAUTHENTICATED,
  403: Code.PERMISSION_DENIED,
  404: Code.UNIMPLEMENTED,
  429: Code.UNAVAILABLE,
  502: Code.UNAVAILABLE,
  503: Code.UNAVAILABLE,
  504: Code.UNAVAILABLE
}

const single = (value: string | ReadonlyArray<string> | undefined): string | undefined =>
  typeof value === "string" ? value : value?.[0]

/** What a worker says in trailers (or in Trailers-Only headers) that hold `grpc-status`. */
export const endOfTrailers = (headers: Metadata): CallEnd | undefined => {
  const raw = single(headers["grpc-status"])
  if (raw === undefined) return undefined
  const number = /^\d{1,3}$/.test(raw) ? Number(raw) : -1
  const known = number >= 0 && number <= 16
  const message = GrpcMessage.decode(single(headers["grpc-message"]) ?? "")
  return {
    reason: "status",
    status: Status.make(
      known ? number : Code.UNKNOWN,
      known ? message : `Worker sent grpc-status ${raw}: ${message}`,
      headers
    )
  }
}

/** What an answer that is not gRPC means. */
export const endOfHttp = (httpStatus: number, contentType: string | undefined): CallEnd => ({
  reason: "status",
  status: Status.make(
    HTTP_TO_GRPC[httpStatus] ?? Code.UNKNOWN,
    `Worker answered HTTP ${httpStatus}${
      contentType === undefined ? "" : ` with ${contentType.slice(0, 60)}`
    }, not gRPC`
  )
})

const REFUSED_STREAM = 7

/** A call that broke without trailers. What a transport calls INTERNAL, CANCELLED or exhausted is UNAVAILABLE to us. */
export const endOfReset = (rstCode: number, seen: boolean): CallEnd => ({
  reason: rstCode === REFUSED_STREAM && !seen ? "refused" : "transport",
  status: Status.make(rstCode === 12 ? Code.PERMISSION_DENIED : Code.UNAVAILABLE, "Worker connection lost")
})

/** The RST_STREAM code that a gateway's library maps back to `code`, for when trailers cannot leave. */
export const resetCodeOf = (code: number): number => {
  switch (code) {
    case Code.CANCELLED:
    case Code.DEADLINE_EXCEEDED:
      return 8
    case Code.UNAVAILABLE:
      return REFUSED_STREAM
    case Code.RESOURCE_EXHAUSTED:
      return 11
    case Code.PERMISSION_DENIED:
      return 12
    default:
      return 2
  }
}
