import { Cause, Effect, Exit, type Pull, type Scope, type Stream } from "effect"
import * as Status from "../../services/Status.ts"
import * as E from "../../services/StreamError.ts"
import type { CallBroken, CallEnd, FrameBatch, Status as GrpcStatus } from "../../services/Wire.ts"
import { PullSource } from "../pullSource.ts"
import { endOfReplies } from "../wire/pulledCall.ts"
import { singly, singlyWhile } from "../wire/singleFrames.ts"
import { isMissedDeadline, missedFrom } from "./deadline.ts"
import { isDismissal } from "./dismissal.ts"
import { open, passHeaders } from "./open.ts"
import type { OpeningBreaker } from "./openingBreaker.ts"
import { replay } from "./replay.ts"
import { seek } from "./seek.ts"
import type { Opening } from "./streamEnv.ts"
import type { Attempt, StreamUnderWay } from "./streamUnderWay.ts"

type Batch = readonly [FrameBatch]
/** The gateway takes no more for now: whoever pulls again has waited until it does. */
export type Full = "full"
type Replies = Pull.Pull<readonly [Full], E.StreamError, void, Scope.Scope>
type RawReplies = Pull.Pull<Batch, CallBroken, GrpcStatus>

const full: Effect.Effect<readonly [Full]> = Effect.succeed(["full"])

/**
 * The replies to one stream. The pull *is* the program: the first one seeks a worker and a place, and opens; then each batch
 * goes through the stream's `Delivery`, in the turn in which it comes, for as long as the gateway takes them; a worker that is lost before the first token is the next attempt. The Stream has an element for each time that the gateway
 * takes no more: not pulling is backpressure, down to the worker's window, and a steady flow wakes no fiber. It ends when the
 * worker's last word was OK ({@link StreamUnderWay.status}), and fails with what else ends a stream.
 *
 * `breaker`: the circuit breaker that watches over the first opening, if it does.
 */
export const replies = (
  stream: StreamUnderWay,
  breaker: OpeningBreaker | undefined
): Stream.Stream<Full, E.StreamError, Scope.Scope> => {
  const source = new PullSource<Full, E.StreamError, Scope.Scope>()
  stream.source = source

  const attempt = (): Replies =>
    Effect.flatMap(
      seek(stream),
      (link) =>
        Effect.flatMap(open(stream, link), (made) => {
          passHeaders(stream, made)
          return begin(made)
        })
    )

  /** Goes on with what an attempt brings; `first`: what it has brought already. */
  const begin = (made: Attempt, first?: Exit.Exit<Batch, CallBroken | Cause.Done<GrpcStatus>>): Replies => {
    const { delivery } = stream
    delivery.begin(made)
    const onward = {
      onSuccess: (): Replies => full,
      onFailure: (over: CallBroken | Cause.Done<GrpcStatus>): Replies => {
        const end = endOfReplies(over)
        return Effect.flatMap(
          lastWord(stream, made, end),
          (isOver) => isOver ? Cause.done() : Effect.andThen(replay(stream, end), Effect.suspend(attempt))
        )
      }
    }
    const next = Effect.matchEffect(handed(stream, made), onward)
    source.next = next
    return first === undefined
      ? next
      : Effect.matchEffect(first, { ...onward, onSuccess: ([batch]) => delivery.take(batch) ? next : full })
  }

  source.next = breaker === undefined
    ? Effect.suspend(attempt)
    : Effect.flatMap(guarded(breaker, stream), ([made, exit]) => begin(made, exit))
  return source.stream
}

const handed = (
  stream: StreamUnderWay,
  { worker }: Attempt
): Effect.Effect<void, CallBroken | Cause.Done<GrpcStatus>> =>
  stream.call.takesSingleFrames === true
    ? singlyWhile(worker.replies, stream, stream.delivery)
    : worker.takeWhile(stream.delivery)

const pulled = (stream: StreamUnderWay, { worker }: Attempt): RawReplies =>
  stream.call.takesSingleFrames === true ? singly(worker.replies, stream) : worker.replies

/** How an opening went whose first event was this end. */
export const openingOf = ({ reason, status }: CallEnd, missed: boolean): Opening =>
  missed || reason === "refused" || (reason === "status" && status.code !== Status.Code.INTERNAL) ? "ignored" : "failed"

/** The worker's side is over. `true`: so is the stream; `false`: its worker is lost; it fails with what ends a stream else. */
const lastWord = (stream: StreamUnderWay, made: Attempt, end: CallEnd): Effect.Effect<boolean, E.StreamError> =>
  Effect.suspend(() => {
    const { call, delivery, env, tally } = stream
    const { reason, status } = end
    stream.attempt = undefined
    const missed = env.watchdog.now() >= missedFrom(call) && isMissedDeadline(end)
    if (!missed && reason !== "status") env.connection.suspect()
    stream.tellOpening(made, openingOf(end, missed))
    if (reason === "status") delivery.takeTrailers(status.metadata)
    if (missed) return Effect.fail(new E.DeadlineExceeded({ delivered: tally.chunks }))
    if (reason === "status" && !isDismissal(status, made.link)) return answered(stream, status)
    // It has said goodbye and ends what it has not finished: the same as if the link had broken.
    stream.status = Status.ok
    return Effect.succeed(tally.ended)
  })

/** The worker has said how it ends. */
const answered = (stream: StreamUnderWay, status: GrpcStatus): Effect.Effect<true, E.StreamError> => {
  const { env, tally } = stream
  stream.status = status
  if (status.code !== Status.Code.OK) return Effect.fail(new E.WorkerStatus({ status }))
  if (tally.ended || !env.requireEndOfStream) return Effect.succeed(true)
  const kind = tally.frames === 0 ? "empty_stream" : "truncated"
  return Effect.fail(new E.Truncated({ kind, delivered: tally.chunks }))
}

/** The first attempt, up to the first event of its replies, under the circuit breaker's eyes. */
const guarded = (breaker: OpeningBreaker, stream: StreamUnderWay) =>
  Effect.suspend(() => {
    type First = readonly [Attempt, Exit.Exit<Batch, CallBroken | Cause.Done<GrpcStatus>>]
    let first: Effect.Effect<First, E.StreamError> = Effect.never
    const opening = seek(stream).pipe(
      Effect.flatMap((link) => open(stream, link)),
      Effect.tap((made) => Effect.sync(() => passHeaders(stream, made))),
      Effect.flatMap((made) => Effect.map(Effect.exit(pulled(stream, made)), (exit): First => [made, exit])),
      Effect.match({
        onSuccess: (reached): Opening => {
          const [made, exit] = reached
          first = Effect.succeed(reached)
          made.told = true
          if (Exit.isSuccess(exit)) return "succeeded"
          const over = exit.cause.reasons.find(Cause.isFailReason)?.error
          if (over === undefined) return "ignored"
          const end = endOfReplies(over)
          return openingOf(end, stream.env.watchdog.now() >= missedFrom(stream.call) && isMissedDeadline(end))
        },
        onFailure: (error): Opening => {
          first = Effect.fail(error)
          return "ignored"
        }
      })
    )
    return Effect.andThen(breaker.guard(opening), Effect.suspend(() => first))
  })
