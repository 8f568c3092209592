import type { StatusObject } from "@grpc/grpc-js"
import * as Status from "../../services/Status.ts"
import type { CallEnd } from "../../services/Wire.ts"
import { fromGrpcJs } from "./grpcJsMetadata.ts"

/**
 * grpc-js tells a status that the worker sent and one that it made up itself in the same words. Its own ones are known
 * by their text: these break a call under way …
 */
const BROKEN: ReadonlyArray<readonly [code: number, details: RegExp]> = [
  [Status.Code.UNAVAILABLE, /^Connection dropped$|^(?:read|write) E[A-Z]+/],
  [Status.Code.INTERNAL, /^Received RST_STREAM with code \d+/],
  [Status.Code.CANCELLED, /^Call cancelled$/],
  [Status.Code.RESOURCE_EXHAUSTED, /^Bandwidth exhausted or memory limit exceeded$/],
  [Status.Code.PERMISSION_DENIED, /^Protocol not secure enough$/]
]

/** … and for these the call has never reached the worker. */
const REFUSED: ReadonlyArray<readonly [code: number, details: RegExp]> = [
  [
    Status.Code.UNAVAILABLE,
    /^Stream refused by server$|^No connection established|^Channel closed before call started$/
  ],
  [Status.Code.INTERNAL, /^Failed to start HTTP\/2 stream with error/]
]

const matches = (
  rules: ReadonlyArray<readonly [code: number, details: RegExp]>,
  { code, details }: StatusObject
): boolean => rules.some(([ruled, text]) => ruled === code && text.test(details))

const lost = (code: number): CallEnd["status"] =>
  // What a transport calls INTERNAL, CANCELLED or exhausted is UNAVAILABLE to us.
  Status.make(
    code === Status.Code.PERMISSION_DENIED ? code : Status.Code.UNAVAILABLE,
    "Worker connection lost"
  )

/** The end of a call as grpc-js tells it. `answered`: something of the worker came before, so it has seen the call. */
export const endOfStatus = (status: StatusObject, answered: boolean): CallEnd => {
  if (matches(REFUSED, status)) return { reason: answered ? "transport" : "refused", status: lost(status.code) }
  if (matches(BROKEN, status)) return { reason: "transport", status: lost(status.code) }
  const known = Number.isInteger(status.code) && status.code >= 0 && status.code <= 16
  return {
    reason: "status",
    status: Status.make(
      known ? status.code : Status.Code.UNKNOWN,
      known ? status.details : `Worker sent a grpc-status that is none: ${status.details}`,
      fromGrpcJs(status.metadata)
    )
  }
}

/** The end of a call that could not be opened. */
export const endUnsent: CallEnd = { reason: "refused", status: lost(Status.Code.UNAVAILABLE) }
