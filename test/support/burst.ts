import type { Writable } from "node:stream"
import type { Event } from "./workerProtocol.ts"

/** Nothing taken for so long: the peer has stopped reading. */
const STALLED_MILLIS = 1000

/** Writes `count` times the same bytes as fast as the stream takes them. */
export const burst = (
  id: number,
  stream: Writable,
  bytes: Uint8Array,
  count: number,
  emit: (event: Event) => void
): void => {
  let left = count
  const pump = () => {
    while (left > 0 && !stream.destroyed) {
      left--
      if (!stream.write(bytes)) {
        const stalled = setTimeout(() => emit({ event: "burstStalled", id }), STALLED_MILLIS).unref()
        stream.once("drain", () => {
          clearTimeout(stalled)
          pump()
        })
        return
      }
    }
    emit({ event: "burstDone", id })
  }
  pump()
}
