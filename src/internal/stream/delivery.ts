import type { FrameBatch, FrameTaker, ServerCall, Waypoint } from "../../services/Wire.ts"
import { ReplyCount } from "./replyCount.ts"
import type { Attempt, StreamUnderWay } from "./streamUnderWay.ts"

/**
 * Where a token meets its stream: looked at, counted and handed over in one step, so that what is counted is what was handed
 * to the gateway's stream. What the path of a stream reads and moves for each token stands here and in the tally: with
 * thousands of streams every further object is a cache miss a token.
 */
export class Delivery extends ReplyCount implements FrameTaker {
  /**
   * Monotonic milliseconds, whole ones as in {@link ReplyCount}. While the gateway does not read, the worker is not asked for
   * anything: that counts, too.
   */
  #lastFrameAt = 0
  readonly #call: ServerCall
  readonly #now: () => number
  /** The attempt whose next batch is not simply passed on. */
  #attempt: Attempt | undefined
  /** The gateway has stopped to read: its time runs. */
  #isStopped = false
  readonly #stream: StreamUnderWay

  constructor(stream: StreamUnderWay) {
    const { account, call, env, span, tally } = stream
    super(tally, env.metrics, env.peek, call.arrivedAt, span.traceId, account)
    this.#call = call
    this.#now = env.watchdog.now
    this.#stream = stream
  }

  /** From here on batches are this attempt's. */
  begin(attempt: Attempt): void {
    this.#attempt = attempt
  }

  /** The tally lies on the way: it is looked at, too. */
  get ahead(): Waypoint | undefined {
    return this.ended ? undefined : this.#call
  }

  get lastFrameAt(): number {
    return this.#lastFrameAt
  }

  /** The worker was heard, or is asked from now on. */
  heardAt(now: number): void {
    this.#lastFrameAt = Math.ceil(now)
  }

  take(batch: FrameBatch): boolean {
    const now = this.#now()
    this.heardAt(now)
    const out = this.#attempt === undefined ? batch : this.#first(this.#attempt, batch)
    if (out === undefined) return true
    if (this.add(out, now)) this.#onFirstToken()
    const room = this.#call.write(out)
    if (!room || this.#isStopped) this.#watchReader(out.length, room, now)
    return room
  }

  /** The gateway reads again. */
  read(): void {
    const { env, limits } = this.#stream
    this.heardAt(this.#now())
    this.#isStopped = false
    if (limits.reader.ready()) env.watchdog.nearer(limits.dueAt())
  }

  /** The first batch of an attempt, or any of one whose frames have to be rewritten; `undefined`: the gateway has it already. */
  #first(attempt: Attempt, batch: FrameBatch): FrameBatch | undefined {
    this.#stream.tellOpening(attempt, "succeeded")
    if (attempt.rewriting !== undefined) return attempt.rewriting.rewrite(batch)
    this.#attempt = undefined
    return batch
  }

  #onFirstToken(): void {
    const { env, limits, log, span } = this.#stream
    span.event("first_token")
    // From here on the stream is never sent again.
    log.forget()
    env.watchdog.nearer(limits.dueAt())
  }

  #watchReader(bytes: number, room: boolean, now: number): void {
    const { env, limits } = this.#stream
    if (limits.reader.handed(bytes, room, now)) env.watchdog.nearer(limits.dueAt())
    this.#isStopped = limits.reader.dueAt !== undefined
  }
}
