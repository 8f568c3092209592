import { Effect } from "effect"
import * as zlib from "node:zlib"
import * as Status from "../../services/Status.ts"
import type { Status as GrpcStatus } from "../../services/Wire.ts"

/** The message encodings that the sidecar's own services can open; also the value of `grpc-accept-encoding`. */
export const ACCEPTED_ENCODINGS = "identity,deflate,gzip"

const openers = { gzip: zlib.gunzip, deflate: zlib.inflate } as const

const isKnown = (encoding: string): encoding is keyof typeof openers => Object.hasOwn(openers, encoding)

/**
 * Opens a message that has the compressed flag (gRPC over HTTP/2, "Compressed-Flag"), off the event loop. `limit`: the
 * most bytes that may come out, so that a small message cannot become a large one.
 *
 * Fails with the status the caller gets: INTERNAL without a `grpc-encoding` or for bytes that are not of it,
 * UNIMPLEMENTED for an encoding that is not accepted, RESOURCE_EXHAUSTED over the limit.
 */
export const decompress = (
  message: Uint8Array,
  encoding: string | undefined,
  limit: number
): Effect.Effect<Uint8Array, GrpcStatus> => {
  if (encoding === undefined || encoding === "identity") {
    return Effect.fail(Status.make(Status.Code.INTERNAL, "Compressed message without grpc-encoding"))
  }
  if (!isKnown(encoding)) {
    return Effect.fail(Status.make(Status.Code.UNIMPLEMENTED, "Message encoding is not supported", {
      "grpc-accept-encoding": ACCEPTED_ENCODINGS
    }))
  }
  const open = openers[encoding]
  return Effect.callback<Uint8Array, GrpcStatus>((resume) => {
    open(message, { maxOutputLength: limit }, (error, opened) => {
      if (error === null) return resume(Effect.succeed(opened))
      const tooLarge = "code" in error && error.code === "ERR_BUFFER_TOO_LARGE"
      resume(Effect.fail(
        tooLarge
          ? Status.make(Status.Code.RESOURCE_EXHAUSTED, `A request message exceeds the limit of ${limit} bytes`)
          : Status.make(Status.Code.INTERNAL, "Message is not of its grpc-encoding")
      ))
    })
  })
}
