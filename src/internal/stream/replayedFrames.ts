import { noReplies } from "../../services/UsageMeter.ts"
import type { FrameBatch } from "../../services/Wire.ts"
import { concat, frame, payloads } from "../wire/frames.ts"
import { Writer } from "../wire/protobuf.ts"
import { indexOf, withIndex } from "../wire/replyIndex.ts"
import { peekBatch, type PeekOptions } from "./peek.ts"

const CHUNK_FIELD = 2

/** A StreamPredictResponse of our own, for people: `[reload] hold_notice`. */
export const noticeFrame = (text: string): FrameBatch => frame(new Writer().string(CHUNK_FIELD, text).finish())

/**
 * The frames of a stream that is not the worker's own any more: it was sent again after frames had been delivered, or
 * it began with a notice of ours. Frames without a token that the gateway already has are dropped, and `index` stays
 * gapless for the gateway. This is the one case in which a frame is rewritten.
 */
export class ReplayedFrames {
  readonly #options: PeekOptions
  #next: number
  #drop: number

  /** `delivered`: frames that the gateway has; `drop`: how many of them a worker that starts anew sends again. */
  constructor(delivered: number, drop: number, options: PeekOptions) {
    this.#next = delivered
    this.#drop = drop
    this.#options = options
  }

  /** What of a batch is for the gateway; `undefined` when nothing is. */
  rewrite(batch: FrameBatch): FrameBatch | undefined {
    const out: Array<Uint8Array> = []
    let at = 0
    for (const payload of payloads(batch)) {
      const compressed = batch[at] !== 0
      const whole = batch.subarray(at, at + 5 + payload.length)
      at += whole.length
      const counts = noReplies()
      peekBatch(whole, counts, this.#options)
      if (this.#drop > 0 && counts.chunks === 0 && !counts.ended) {
        this.#drop--
        continue
      }
      this.#drop = 0
      const message = compressed ? this.#options.inflate?.(payload) : payload
      const index = message === undefined ? undefined : indexOf(message)
      if (message === undefined || index === undefined || index === this.#next) out.push(whole)
      else out.push(frame(withIndex(message, this.#next)))
      this.#next++
    }
    return out.length === 0 ? undefined : concat(out)
  }
}
