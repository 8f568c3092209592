import { Effect, Stream } from "effect"
import type { HttpClientResponse } from "effect/http"

/** What may be read of an answer, and for how long; then its body is cancelled, and its connection with it. */
export interface AnswerLimits {
  /** Bytes, after decompression. */
  readonly bytes: number
  readonly millis: number
}

/** The first bytes of an answer: whoever sends more, or ever less, is not read on. */
export const firstBytes = (
  response: HttpClientResponse.HttpClientResponse,
  { bytes, millis }: AnswerLimits
): Effect.Effect<Uint8Array> => {
  const parts: Array<Uint8Array> = []
  let left = bytes
  return response.stream.pipe(
    Stream.takeUntil((part) => {
      parts.push(part.subarray(0, left))
      left -= part.length
      return left <= 0
    }),
    Stream.runDrain,
    Effect.timeoutOption(millis),
    Effect.ignore,
    Effect.map(() => Buffer.concat(parts))
  )
}

/** The same as text. */
export const firstText = (
  response: HttpClientResponse.HttpClientResponse,
  limits: AnswerLimits
): Effect.Effect<string> => Effect.map(firstBytes(response, limits), (bytes) => new TextDecoder().decode(bytes))
