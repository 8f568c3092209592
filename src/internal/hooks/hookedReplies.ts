import { Cause, Effect, Exit, type Fiber, type Pull, Scope, Stream } from "effect"
import type { PredictReply, PredictRequest } from "../../services/LlmClient.ts"
import * as Status from "../../services/Status.ts"
import type {
  CallBroken,
  CallStart,
  FrameBatch,
  Metadata,
  Status as GrpcStatus,
  WorkerCall
} from "../../services/Wire.ts"
import type { WorkerLink } from "../../services/WorkerChannel.ts"
import { decodePredictReply, decodePredictRequest } from "../inProcess/predictMessages.ts"
import { PullSource } from "../pullSource.ts"
import { FrameInbox } from "../wire/frameInbox.ts"
import { frame, payloads, PREFIX_BYTES } from "../wire/frames.ts"
import { Writer } from "../wire/protobuf.ts"
import { withIndex } from "../wire/replyIndex.ts"
import { type Rest, singly } from "../wire/singleFrames.ts"
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
  hooks: ReplyHooks
): Effect.Effect<WorkerCall, never, Scope.Scope> =>
  Effect.flatMap(Effect.scope, (outer) => {
    // The worker is let go as soon as the hooks are done, whatever the gateway has still to take.
    const scope = Scope.forkUnsafe(outer)
    return Effect.flatMap(Scope.provide(link.open(start), scope), (call) => {
      const hooked = new HookedCall(call, Scope.close(scope, Exit.void), hooks)
      return Effect.as(Scope.addFinalizer(outer, Effect.sync(() => hooked.cancel())), hooked)
    })
  })

/** After so many looks hang hooks that neither take nor give, although the gateway waits and they do not wait for the worker. */
const LOOKS = 10
const LOOK_SECS = 3
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
class HookedCall extends FrameInbox<CallBroken | Cause.Done<GrpcStatus>> implements WorkerCall {
  readonly #call: WorkerCall
  readonly #hooks: ReplyHooks
  /** Cancels the call at the worker. */
  readonly #letGo: Effect.Effect<void>
  #fiber: Fiber.Fiber<void, unknown> | undefined
  /** Of the last batch, what the hooks have not taken. */
  readonly #kept: Rest = { rest: undefined }
  readonly #source = new PullSource<string>()
  #end: CallBroken | Cause.Done<GrpcStatus> | undefined
  #ended: Taken | undefined
  #over = false
  #whenOver: ((effect: Effect.Effect<void>) => void) | undefined
  #roomy: ((effect: Effect.Effect<void>) => void) | undefined
  /** The token that was taken last, which may come out as it is. */
  #last: Taken | undefined
  #traceId = ""
  #sent = 0
  /** Counts what the hooks take and give. */
  #moves = 0
  /** The hooks have asked for the worker's next token, and wait for it. */
  #waits = false

  constructor(call: WorkerCall, letGo: Effect.Effect<void>, hooks: ReplyHooks) {
    super()
    this.#call = call
    this.#letGo = letGo
    this.#hooks = hooks
  }

  write(batch: FrameBatch): boolean {
    if (this.#fiber === undefined && !this.#over) this.#begin(batch)
    return this.#call.write(batch)
  }

  halfClose(): void {
    this.#call.halfClose()
    // Nobody has asked for anything: the hooks have nothing to do.
    if (this.#fiber === undefined && !this.#over) this.#fiber = this.#hooks.fork(this.#passOn)
  }

  get replies(): Effect.Effect<readonly [FrameBatch], CallBroken | Cause.Done<GrpcStatus>> {
    return this.pull
  }

  get writable(): Effect.Effect<void> {
    return this.#call.writable
  }

  get headers(): Effect.Effect<Metadata | undefined> {
    return this.#call.headers
  }

  whenHeaders(callback: (metadata: Metadata) => void): void {
    this.#call.whenHeaders(callback)
  }

  get isOver(): boolean {
    return this.isDrained
  }

  get over(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      if (this.isDrained) return resume(Effect.void)
      this.#whenOver = resume
    })
  }

  cancel(): void {
    this.#over = true
    this.drop()
    this.#source.next = undefined
    this.#fiber?.interruptUnsafe()
  }

  protected readOn(): void {
    this.#moves++
    const roomy = this.#roomy
    this.#roomy = undefined
    roomy?.(Effect.void)
  }

  /** The first request message is there: the hooks know for whom they work. */
  #begin(request: FrameBatch): void {
    const [message = new Uint8Array()] = payloads(request)
    const decoded = decodePredictRequest(request[0] === 0 ? message : new Uint8Array())
    this.#source.next = this.#tokens
    this.#fiber = this.#hooks.fork(
      // A hook that throws where it makes its Stream is caught as one that does when it runs.
      Effect.suspend(() =>
        Stream.runForEach(this.#hooks.transform(this.#source.stream, decoded), (text) => this.#emit(text))
      ).pipe(
        Effect.raceFirst(this.#standstill(0)),
        Effect.exit,
        Effect.flatMap((exit) => this.#finish(exit))
      )
    )
  }

  /** Fails when the hooks hang; `still`: so many looks in a row nothing has moved. */
  #standstill(still: number): Effect.Effect<never, HookFailure> {
    if (still === LOOKS) {
      const cause = Cause.fail(`it stood still for ${LOOKS * LOOK_SECS} seconds`)
      return Effect.fail(new HookFailure({ hook: this.#hooks.names, part: "replies", cause }))
    }
    const before = this.#moves
    return Effect.flatMap(Effect.sleep(`${LOOK_SECS} seconds`), () => {
      const stands = !this.#waits && this.isWanted && this.#moves === before
      return this.#standstill(stands ? still + 1 : 0)
    })
  }

  /** The worker's next frame; `undefined`: there is none any more. */
  readonly #next: Effect.Effect<FrameBatch | undefined> = Effect.suspend(() =>
    this.#end !== undefined ? Effect.undefined : Effect.match(singly(this.#call.replies, this.#kept), {
      onSuccess: ([frame]) => frame,
      onFailure: (end) => {
        this.#end = end
        return undefined
      }
    })
  )

  /** The next token; everything else goes its way untouched. */
  readonly #tokens: Pull.Pull<readonly [string]> = Effect.suspend(() => {
    this.#moves++
    this.#waits = true
    return this.#ended === undefined ? Effect.flatMap(this.#next, (next) => this.#tokenOf(next)) : Cause.done()
  }).pipe(Effect.ensuring(Effect.sync(() => {
    this.#moves++
    this.#waits = false
  })))

  #tokenOf(next: FrameBatch | undefined): Pull.Pull<readonly [string]> {
    if (next === undefined) return Cause.done()
    // A worker that compresses although it is asked not to: nobody looks into it.
    if (next[0] !== 0) return Effect.andThen(this.#hand(next), this.#tokens)
    const taken: Taken = { frame: next, reply: decodePredictReply(next.subarray(PREFIX_BYTES), this.#hooks.notices) }
    const { chunk, endOfStream, isNotice, traceId } = taken.reply
    this.#traceId = traceId
    if (endOfStream) this.#ended = taken
    if (chunk !== "" && !isNotice) {
      this.#last = taken
      return Effect.succeed([chunk] as const)
    }
    return endOfStream ? Cause.done() : Effect.andThen(this.#hand(this.#asIs(taken)), this.#tokens)
  }

  /** What the worker still says when the hooks are done. */
  readonly #passOn: Effect.Effect<void> = Effect.suspend(() =>
    Effect.flatMap(this.#next, (next) => {
      if (next !== undefined) return this.#passOn
      if (this.#end !== undefined) this.#close(this.#end)
      return Effect.void
    })
  )

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
      return this.arrive(one) || this.#over ? Effect.void : Effect.callback<void>((resume) => {
        this.#roomy = resume
      })
    })
  }

  #finish(exit: Exit.Exit<void, HookFailure>): Effect.Effect<void> {
    this.#source.next = undefined
    if (this.#over) return Effect.void
    if (Exit.isFailure(exit)) {
      const failure = exit.cause.reasons.find(Cause.isFailReason)?.error
      if (failure === undefined) return Effect.void
      // Told first: with its end the stream closes what this runs in.
      return this.#letGo.pipe(
        Effect.andThen(this.#hooks.tell(failure)),
        Effect.andThen(Effect.sync(() => this.#close(Cause.Done(failureStatus(failure.hook)))))
      )
    }
    if (this.#ended === undefined && this.#end === undefined) {
      return this.#letGo.pipe(
        Effect.andThen(this.#hand(textFrame(this.#traceId, "", true, this.#sent))),
        Effect.andThen(Effect.sync(() => this.#close(Cause.Done(stopped))))
      )
    }
    const last = this.#ended
    // Its text, if it had any, has gone through the hooks.
    const end = last === undefined
      ? Effect.void
      : this.#hand(last.reply.chunk === "" ? this.#asIs(last) : textFrame(this.#traceId, "", true, this.#sent))
    return Effect.andThen(end, this.#passOn)
  }

  #close(end: CallBroken | Cause.Done<GrpcStatus>): void {
    if (this.#over) return
    this.#over = true
    this.close(Effect.fail(end))
    if (!this.isDrained) return
    const over = this.#whenOver
    this.#whenOver = undefined
    over?.(Effect.void)
  }
}
