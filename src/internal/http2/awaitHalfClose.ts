import type { ServerHttp2Stream } from "node:http2"

const NO_ERROR = 0
/** Far longer than a half-close is under way. */
const GRACE_MILLIS = 1000

/**
 * To be called when a call is answered whole and its gateway has not half-closed. The HTTP/2 stream would then be kept for
 * ever: after a while, RST_STREAM NO_ERROR says that nothing more is wanted (RFC 9113 §8.1).
 *
 * **Gotchas**
 *
 * Not at once: the half-close may be under way. To nginx, which has sent it and then reads the trailers, the connection is
 * free for its next call; a reset of the old stream there is a "frame for unknown stream", and the new call fails with 502.
 */
export const awaitHalfClose = (stream: ServerHttp2Stream): void => {
  const grace = setTimeout(() => {
    // What came while the loop was busy is read before.
    setImmediate(() => {
      if (!stream.closed && !stream.readableEnded) stream.close(NO_ERROR)
    })
  }, GRACE_MILLIS)
  stream.once("close", () => clearTimeout(grace))
}
