import { Effect, Stream } from "effect"
import type { HttpClientResponse } from "effect/http"

/** What may be read of an answer, and for how long; then its body is cancelled, and its connection with it. */
export interface AnswerLimits {
  /** Bytes, after decompression. */
  readonly bytes: number
  readonly millis: number
}

/** The first bytes of an answer as text: whoever sends more, or ever less, is not read on. */
export const firstText = (
  response: HttpClientResponse.HttpClientResponse,
  { bytes, millis }: AnswerLimits
): Effect.Effect<string> => {
  const decoder = new TextDecoder()
  let text = ""
  let left = bytes
  return response.stream.pipe(
    Stream.takeUntil((part) => {
      text += decoder.decode(part.subarray(0, left), { stream: true })
      left -= part.length
      return left <= 0
    }),
    Stream.runDrain,
    Effect.timeoutOption(millis),
    Effect.ignore,
    Effect.map(() => text)
  )
}
