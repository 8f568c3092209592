import { Cause, Effect, Exit, type Fiber, type Pull, Stream } from "effect"
import type { PredictReply, PredictRequest } from "../../services/LlmClient.ts"
import * as Status from "../../services/Status.ts"
import {
  type CallEnd,
  type CallStart,
  type FrameBatch,
  type Metadata,
  type ReplyListener,
  type WorkerCall
} from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { decodePredictReply, decodePredictRequest } from "../inProcess/predictMessages.ts"
import { frame, lengthAt, payloads, PREFIX_BYTES } from "../wire/frames.ts"
import { Writer } from "../wire/protobuf.ts"
import { withIndex } from "../wire/replyIndex.ts"
import { failureStatus, HookFailure, type TellFailure } from "./hookFailure.ts"

/** What happens to the text of every stream. */
export interface ReplyHooks {
  readonly transform: (tokens: Stream.Stream<string>, request: PredictRequest) => Stream.Stream<string, HookFailure>
  /** Whose word is broken when the text stands still. */
  readonly names: string
  readonly tell: TellFailure
  readonly notices: ReadonlyArray<string>
  readonly fork: <E>(effect: Effect.Effect<void, E>) => Fiber.Fiber<void, E>
}

/** Opens a call at the worker whose text goes through the hooks before anybody counts it. */
export const openHooked = (
  link: WorkerLink,
  start: CallStart,
  listener: ReplyListener,
  hooks: ReplyHooks
): WorkerCall => {
  const replies = new HookedReplies(listener, hooks)
  return replies.attach(link.open(start, replies))
}

/** Hooks that neither take nor give for so long, although they could do both, hang. */
const PATIENCE = "30 seconds"
const stopped = Status.make(Status.Code.OK, "", { "cy-reason": "stopped" })

const textFrame = (traceId: string, chunk: string, endOfStream: boolean, index: number): FrameBatch => {
  const writer = new Writer()
  if (traceId !== "") writer.string(1, traceId)
  if (chunk !== "") writer.string(2, chunk)
  if (endOfStream) writer.varint(3, 1)
  if (index !== 0) writer.varint(4, index)
  return frame(writer.finish())
}

interface Taken {
  readonly frame: FrameBatch
  readonly reply: PredictReply
}

/** The text of one call between the worker and the sidecar: a Stream in, a Stream out, frames on both sides. */
class HookedReplies implements ReplyListener, WorkerCall {
  readonly #listener: ReplyListener
  readonly #hooks: ReplyHooks
  #call: WorkerCall | undefined
  #fiber: Fiber.Fiber<void, unknown> | undefined
  #waiting: Array<FrameBatch> = []
  #paused = false
  #wake: (() => void) | undefined
  #end: CallEnd | undefined
  #ended: Taken | undefined
  #over = false
  #room = true
  #roomy: (() => void) | undefined
  /** The token that was taken last, which may come out as it is. */
  #last: Taken | undefined
  #traceId = ""
  #sent = 0
  /** Counts what the hooks take and give. */
  #moves = 0

  constructor(listener: ReplyListener, hooks: ReplyHooks) {
    this.#listener = listener
    this.#hooks = hooks
  }

  attach(call: WorkerCall): WorkerCall {
    this.#call = call
    return this
  }

  onHeaders(metadata: Metadata): void {
    if (!this.#over) this.#listener.onHeaders(metadata)
  }

  onFrames(batch: FrameBatch): boolean {
    let at = 0
    while (at < batch.length) {
      const end = at + PREFIX_BYTES + lengthAt(batch, at)
      this.#waiting.push(batch.subarray(at, end))
      at = end
    }
    this.#awake()
    this.#paused = this.#waiting.length > 0
    return !this.#paused
  }

  onEnd(end: CallEnd): void {
    this.#end = end
    this.#awake()
    if (this.#fiber === undefined && !this.#over) this.#close(end)
  }

  onDrain(): void {
    if (!this.#over) this.#listener.onDrain()
  }

  write(batch: FrameBatch): boolean {
    if (this.#fiber === undefined && !this.#over) this.#begin(batch)
    return this.#call?.write(batch) ?? true
  }

  halfClose(): void {
    this.#call?.halfClose()
  }

  resume(): void {
    this.#room = true
    this.#moves++
    const roomy = this.#roomy
    this.#roomy = undefined
    roomy?.()
  }

  cancel(): void {
    if (this.#over) return
    this.#over = true
    this.#waiting = []
    this.#fiber?.interruptUnsafe()
    this.#call?.cancel()
  }

  /** The first request message is there: the hooks know for whom they work. */
  #begin(request: FrameBatch): void {
    const [message = new Uint8Array()] = payloads(request)
    const decoded = decodePredictRequest(request[0] === 0 ? message : new Uint8Array())
    const tokens = Stream.fromPull(Effect.succeed(this.#pull))
    this.#fiber = this.#hooks.fork(
      Stream.suspend(() => this.#hooks.transform(tokens, decoded)).pipe(
        Stream.runForEach((text) => this.#emit(text)),
        Effect.raceFirst(this.#standstill),
        Effect.exit,
        Effect.flatMap((exit) => this.#finish(exit))
      )
    )
  }

  /** Fails when the hooks hang. */
  readonly #standstill: Effect.Effect<never, HookFailure> = Effect.suspend(() => {
    const before = this.#moves
    return Effect.sleep(PATIENCE).pipe(Effect.flatMap(() => {
      const couldMove = this.#waiting.length > 0 || this.#ended !== undefined || this.#end !== undefined
      return couldMove && this.#room && this.#moves === before
        ? Effect.fail(new HookFailure({ hook: this.#hooks.names, cause: Cause.fail(`it stood still for ${PATIENCE}`) }))
        : this.#standstill
    }))
  })

  /** The next token; everything else goes its way untouched. */
  readonly #pull: Pull.Pull<readonly [string]> = Effect.suspend(() => {
    this.#moves++
    if (this.#ended !== undefined) return Cause.done()
    const next = this.#waiting.shift()
    if (next === undefined) return this.#end === undefined ? Effect.andThen(this.#more, this.#pull) : Cause.done()
    // A worker that compresses although it is asked not to: nobody looks into it.
    if (next[0] !== 0) return Effect.andThen(this.#hand(next), this.#pull)
    const taken: Taken = { frame: next, reply: decodePredictReply(next.subarray(PREFIX_BYTES), this.#hooks.notices) }
    const { chunk, endOfStream, isNotice, traceId } = taken.reply
    this.#traceId = traceId
    if (endOfStream) this.#ended = taken
    if (chunk !== "" && !isNotice) {
      this.#last = taken
      return Effect.succeed([chunk] as const)
    }
    return endOfStream ? Cause.done() : Effect.andThen(this.#hand(this.#asIs(taken)), this.#pull)
  })

  /** Waits for frames or the end, and has the worker read meanwhile. */
  readonly #more: Effect.Effect<void> = Effect.callback<void>((resume) => {
    this.#wake = () => resume(Effect.void)
    if (!this.#paused) return
    this.#paused = false
    this.#call?.resume()
  })

  #awake(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #asIs(taken: Taken): FrameBatch {
    return taken.reply.index === this.#sent
      ? taken.frame
      : frame(withIndex(taken.frame.subarray(PREFIX_BYTES), this.#sent))
  }

  #emit(text: string): Effect.Effect<void> {
    if (text === "") return Effect.void
    const last = this.#last
    this.#last = undefined
    const unchanged = last !== undefined && last.reply.chunk === text && !last.reply.endOfStream
    return this.#hand(unchanged ? this.#asIs(last) : textFrame(this.#traceId, text, false, this.#sent))
  }

  /** Hands one frame on, and waits until there is room for another. */
  #hand(one: FrameBatch): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (this.#over) return Effect.interrupt
      this.#sent++
      this.#moves++
      this.#room = this.#listener.onFrames(one)
      return this.#room || this.#over
        ? Effect.void
        : Effect.callback<void>((resume) => {
          this.#roomy = () => resume(Effect.void)
        })
    })
  }

  #finish(exit: Exit.Exit<void, HookFailure>): Effect.Effect<void> {
    if (this.#over) return Effect.void
    if (Exit.isFailure(exit)) {
      const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
      if (failure === undefined) return Effect.void
      this.#call?.cancel()
      this.#close({ reason: "status", status: failureStatus(failure.hook) })
      return this.#hooks.tell(failure)
    }
    if (this.#ended === undefined && this.#end === undefined) {
      this.#call?.cancel()
      return Effect.andThen(
        this.#hand(textFrame(this.#traceId, "", true, this.#sent)),
        Effect.sync(() => this.#close({ reason: "status", status: { ...stopped, metadata: stopped.metadata } }))
      )
    }
    const last = this.#ended
    // Its text, if it had any, has gone through the hooks.
    const end = last === undefined
      ? Effect.void
      : this.#hand(last.reply.chunk === "" ? this.#asIs(last) : textFrame(this.#traceId, "", true, this.#sent))
    const over = Effect.suspend((): Effect.Effect<void> => {
      this.#waiting = []
      if (this.#end === undefined) return Effect.andThen(this.#more, over)
      this.#close(this.#end)
      return Effect.void
    })
    return Effect.andThen(end, over)
  }

  #close(end: CallEnd): void {
    if (this.#over) return
    this.#over = true
    this.#listener.onEnd(end)
  }
}
