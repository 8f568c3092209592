import type { HeaderBlock } from "../../http2/headerBlock.ts"
import type { Http2Stream } from "../../http2/stream.ts"
import * as StatusOf from "../../services/Status.ts"
import type { ServerCall, Status } from "../../services/Wire.ts"
import * as GrpcTimeout from "../wire/grpcTimeout.ts"
import type { CallHead } from "./http2ServerCall.ts"

/** The name of a message encoding; a longer one would count against the worker's limit for headers. */
const ENCODING = /^[a-z0-9_.-]{1,32}$/

/** A request that is a gRPC call, and why it is refused if it is. */
export interface AdmittedHead extends CallHead {
  readonly refusal: Status | undefined
}

/** Answers what is not a gRPC call in plain HTTP (gRPC over HTTP/2, "HTTP2 Transport Mapping"). */
const refuseHttp = (stream: Http2Stream, status: number, text: string): undefined => {
  stream.respond([":status", String(status), "content-type", "text/plain; charset=utf-8"])
  stream.write(new TextEncoder().encode(`${text}\n`))
  stream.end()
  return undefined
}

/** Reads the head of a request; `undefined`: it was no gRPC call, and is answered. */
export const admitRequest = (
  stream: Http2Stream,
  block: HeaderBlock,
  arrivedAt: number,
  peer: ServerCall["peer"]
): AdmittedHead | undefined => {
  if (!block.tooLarge) {
    if (block.method !== "POST") {
      return refuseHttp(stream, 405, "This port speaks gRPC: POST, content-type application/grpc.")
    }
    if (!/^application\/grpc(?:$|[+;])/.test(block.get("content-type") ?? "")) {
      return refuseHttp(stream, 415, "This port speaks gRPC: content-type application/grpc.")
    }
  }
  const encoding = block.get("grpc-encoding")
  const timeoutMillis = GrpcTimeout.parse(block.get("grpc-timeout"))
  const head = { block, timeoutMillis, arrivedAt, peer, encoding: encoding === "identity" ? undefined : encoding }
  if (block.tooLarge) {
    return {
      ...head,
      refusal: StatusOf.make(StatusOf.Code.RESOURCE_EXHAUSTED, "metadata too large", {
        "cy-reason": "metadata_too_large"
      })
    }
  }
  if (encoding !== undefined && !ENCODING.test(encoding)) {
    return { ...head, refusal: StatusOf.make(StatusOf.Code.UNIMPLEMENTED, "grpc-encoding is not supported") }
  }
  if (Number.isNaN(timeoutMillis)) {
    const text = "grpc-timeout is not of the form <digits><unit>"
    return { ...head, refusal: StatusOf.make(StatusOf.Code.INTERNAL, text) }
  }
  return { ...head, refusal: undefined }
}
