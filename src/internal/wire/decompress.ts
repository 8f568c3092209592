import { Effect, Semaphore } from "effect"
import * as Status from "../../services/Status.ts"
import type { Status as GrpcStatus } from "../../services/Wire.ts"
import { builtins } from "../builtins.ts"

/** The message encodings that the sidecar's own services can open; also the value of `grpc-accept-encoding`. */
export const ACCEPTED_ENCODINGS = "identity,deflate,gzip"

const openers = { gzip: "gunzip", deflate: "inflate" } as const

const isKnown = (encoding: string): encoding is keyof typeof openers => Object.hasOwn(openers, encoding)

/** What may be opened. */
export interface DecompressLimits {
  /** Bytes of a compressed message. */
  readonly inBytes: number
  /** Bytes that it opens to: a small message must not become a large one. */
  readonly outBytes: number
  /** Messages that are opened at the same time; others wait for their turn. */
  readonly atOnce: number
}

/**
 * What the sidecar opens for itself, beside the path of a token: a request for who asks, a worker's reply although it was
 * asked not to compress. Few at a time, and none larger than such messages are.
 */
export const OWN_LIMITS: DecompressLimits = { inBytes: 1024 * 1024, outBytes: 4 * 1024 * 1024, atOnce: 2 }

/** Opens one message that has the compressed flag, which is of this `grpc-encoding`. */
export type Decompress = (message: Uint8Array, encoding: string | undefined) => Effect.Effect<Uint8Array, GrpcStatus>

const tooLarge = (limit: number): GrpcStatus =>
  Status.make(Status.Code.RESOURCE_EXHAUSTED, `A request message exceeds the limit of ${limit} bytes`, {
    "cy-reason": "message_too_large"
  })

/**
 * Opens messages that have the compressed flag (gRPC over HTTP/2, "Compressed-Flag"), off the event loop and a few at a
 * time.
 *
 * Fails with the status the caller gets: INTERNAL without a `grpc-encoding` or for bytes that are not of it,
 * UNIMPLEMENTED for an encoding that is not accepted, RESOURCE_EXHAUSTED over a limit.
 */
export const makeDecompress = (limits: DecompressLimits): Decompress => {
  const turns = Semaphore.makeUnsafe(limits.atOnce)
  return (message, encoding) => {
    if (encoding === undefined || encoding === "identity") {
      return Effect.fail(Status.make(Status.Code.INTERNAL, "Compressed message without grpc-encoding"))
    }
    if (!isKnown(encoding)) {
      return Effect.fail(Status.make(Status.Code.UNIMPLEMENTED, "Message encoding is not supported", {
        "grpc-accept-encoding": ACCEPTED_ENCODINGS
      }))
    }
    if (message.length > limits.inBytes) return Effect.fail(tooLarge(limits.inBytes))
    const open = builtins.zlib[openers[encoding]]
    // Not to be interrupted: zlib goes on with what it has begun, and the turn lasts as long.
    return turns.withPermits(1)(Effect.uninterruptible(Effect.callback<Uint8Array, GrpcStatus>((resume) => {
      open(message, { maxOutputLength: limits.outBytes }, (error, opened) => {
        if (error === null) return resume(Effect.succeed(opened))
        resume(Effect.fail(
          "code" in error && error.code === "ERR_BUFFER_TOO_LARGE"
            ? tooLarge(limits.outBytes)
            : Status.make(Status.Code.INTERNAL, "Message is not of its grpc-encoding")
        ))
      })
    })))
  }
}
