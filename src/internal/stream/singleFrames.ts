import type {
  CallEnd,
  CallStart,
  FrameBatch,
  Metadata,
  ReplyListener,
  ServerCall,
  WorkerCall
} from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { lengthAt, PREFIX_BYTES } from "../wire/frames.ts"

/**
 * Opens a call at the worker for `call`. One that takes single frames gets each when it has room: what arrived together and
 * was not asked for waits here, uncounted. The worker's window bounds it, since the worker is not read on meanwhile.
 */
export const openFor = (
  call: Pick<ServerCall, "takesSingleFrames">,
  link: WorkerLink,
  start: CallStart,
  listener: ReplyListener
): WorkerCall => {
  if (call.takesSingleFrames !== true) return link.open(start, listener)
  const frames = new SingleFrames(listener)
  return frames.attach(link.open(start, frames))
}

class SingleFrames implements ReplyListener, WorkerCall {
  readonly #listener: ReplyListener
  #call: WorkerCall | undefined
  #waiting: Array<FrameBatch> = []
  /** Where the first of the batches that wait is cut next. */
  #at = 0
  #full = false
  #end: CallEnd | undefined
  #over = false
  #feeding = false

  constructor(listener: ReplyListener) {
    this.#listener = listener
  }

  attach(call: WorkerCall): WorkerCall {
    this.#call = call
    return this
  }

  onHeaders(metadata: Metadata): void {
    if (!this.#over) this.#listener.onHeaders(metadata)
  }

  onFrames(batch: FrameBatch): boolean {
    if (this.#over) return true
    this.#waiting.push(batch)
    this.#feed()
    return !this.#full
  }

  onEnd(end: CallEnd): void {
    this.#end = end
    this.#feed()
  }

  onDrain(): void {
    if (!this.#over) this.#listener.onDrain()
  }

  write(batch: FrameBatch): boolean {
    return this.#call?.write(batch) ?? true
  }

  halfClose(): void {
    this.#call?.halfClose()
  }

  resume(): void {
    if (this.#over || !this.#full) return
    this.#full = false
    // From within `onFrames` the loop below goes on by itself.
    if (this.#feeding) return
    this.#feed()
    if (!this.#full && !this.#over && this.#end === undefined) this.#call?.resume()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#waiting = []
    this.#call?.cancel()
  }

  #feed(): void {
    if (this.#feeding) return
    this.#feeding = true
    let frame = this.#over || this.#full ? undefined : this.#next()
    while (frame !== undefined) {
      if (!this.#listener.onFrames(frame)) this.#full = true
      frame = this.#over || this.#full ? undefined : this.#next()
    }
    this.#feeding = false
    if (this.#end === undefined || this.#over || this.#waiting.length > 0) return
    this.#over = true
    this.#listener.onEnd(this.#end)
  }

  #next(): FrameBatch | undefined {
    const [batch] = this.#waiting
    if (batch === undefined) return undefined
    const end = this.#at + PREFIX_BYTES + lengthAt(batch, this.#at)
    const frame = this.#at === 0 && end >= batch.length ? batch : batch.subarray(this.#at, end)
    this.#at = end
    if (end >= batch.length) {
      this.#waiting.shift()
      this.#at = 0
    }
    return frame
  }
}
