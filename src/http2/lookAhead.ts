import { FrameType, HEAD_BYTES, payloadLength, streamId } from "./protocol.ts"
import type { StreamStore } from "./streamStore.ts"

/** An object that the bytes of a stream pass. */
export interface Waypoint {
  /** Where they go from here; to be asked at any time, and changes nothing. `undefined`: not known, or no further. */
  readonly ahead?: Waypoint | undefined
}

/** With fewer streams all that they need is in the processor's caches. */
const MANY_STREAMS = 64
/** So many frames of a read are looked at before the first of them is taken. */
const FRAMES = 32
/** Objects that are waited for at once. */
const TOGETHER = 8
/** From a stream of one connection to that of another one, and once more: what is asked for last is not waited for. */
const STEPS = 6

/**
 * Asks the memory for what the frames of a read are going to need, for many of them at once.
 *
 * **Details**
 *
 * With thousands of streams nothing of a stream is in the processor's caches when its next bytes come. Their way leads from one
 * object to the next, and each is waited for: up to a third of a microsecond, five or six times. Objects of different
 * streams do not wait for each other. So they are touched here before the first frame is taken, the first object of several
 * streams, then the second of each: software prefetching, by plain loads.
 */
export class LookAhead {
  readonly #store: StreamStore
  readonly #ids = new Int32Array(FRAMES)

  constructor(store: StreamStore) {
    this.#store = store
  }

  /** A frame begins at `at`; answers where the first one begins that was not looked at, else `end`. */
  look(chunk: Uint8Array, at: number, end: number): number {
    if (this.#store.size < MANY_STREAMS) return end
    const ids = this.#ids
    let next = at
    let frames = 0
    while (next + HEAD_BYTES <= end && frames < FRAMES) {
      if (chunk[next + 3] === FrameType.DATA) {
        ids[frames++] = streamId(chunk, next)
      }
      next += HEAD_BYTES + payloadLength(chunk, next)
    }
    if (frames > 1) {
      ids.fill(0, frames)
      this.#touch(frames)
    }
    return next + HEAD_BYTES <= end ? next : end
  }

  /**
   * In variables and not in an array: for each object that is stored there V8 looks at the head of its page, which is as far
   * away as the object.
   */
  #touch(frames: number): void {
    for (let at = 0; at < frames; at += TOGETHER) {
      let a = this.#streamOf(at)
      let b = this.#streamOf(at + 1)
      let c = this.#streamOf(at + 2)
      let d = this.#streamOf(at + 3)
      let e = this.#streamOf(at + 4)
      let f = this.#streamOf(at + 5)
      let g = this.#streamOf(at + 6)
      let h = this.#streamOf(at + 7)
      for (let step = 0; step < STEPS; step++) {
        a = a?.ahead
        b = b?.ahead
        c = c?.ahead
        d = d?.ahead
        e = e?.ahead
        f = f?.ahead
        g = g?.ahead
        h = h?.ahead
      }
    }
  }

  #streamOf(frame: number): Waypoint | undefined {
    return this.#store.get(this.#ids[frame] ?? 0)
  }
}
