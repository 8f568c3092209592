import { Effect, Exit } from "effect"
import * as E from "../../services/StreamError.ts"
import type { Admit } from "../../services/StreamHooks.ts"
import type { StreamReports } from "../../services/StreamReports.ts"
import type { StreamSpan, StreamTracing } from "../../services/StreamTracer.ts"
import type { UsageMeter } from "../../services/UsageMeter.ts"
import type { StreamIdentity } from "../../services/UsageRecord.ts"
import type { FrameBatch, ServerCall } from "../../services/Wire.ts"
import type { Decompress } from "../wire/decompress.ts"
import { payloads } from "../wire/frames.ts"
import { pass, type Passed } from "../wire/metadata.ts"
import type { Arrivals } from "./arrivals.ts"
import { atDeadline, missedFrom } from "./deadline.ts"
import { deliver } from "./deliver.ts"
import { endOf } from "./endOf.ts"
import type { OpeningBreaker } from "./openingBreaker.ts"
import { identityOf, peekRequest } from "./requestIdentity.ts"
import { takeRequests } from "./requests.ts"
import type { StreamEnd, StreamEnv } from "./streamEnv.ts"
import { reportOf } from "./streamReport.ts"
import { StreamUnderWay } from "./streamUnderWay.ts"
import type { Tenants } from "./tenants.ts"
import type { Unadmitted } from "./unadmitted.ts"

/** What the path of a stream stands on. */
export interface PredictOptions {
  readonly env: StreamEnv
  readonly arrivals: Arrivals
  readonly breaker: OpeningBreaker
  readonly meter: UsageMeter["Service"]
  readonly tracer: StreamTracing
  readonly reports: StreamReports["Service"]
  readonly unadmitted: Unadmitted
  readonly decompress: Decompress
  /** The application's hooks, if it has any that look at requests. */
  readonly admit: Admit | undefined
  /** Why a stream that comes now is turned away before it has a record. */
  readonly refusal: () => E.StreamError | undefined
  readonly tooLarge: (call: ServerCall, metadataBytes: number) => E.StreamError | undefined
  /** The streams in flight. */
  readonly streams: Streams
  readonly tenants: Tenants
}

/** The one number of streams: that by which one more is refused is the one that is shown and waited for. */
export interface Streams {
  /** A call is let in; it is no stream yet, while its request is opened. */
  readonly enter: () => void
  /** It was not let in after all. */
  readonly turnBack: () => void
  readonly begin: (stream: StreamUnderWay) => void
  readonly end: (stream: StreamUnderWay) => void
}

type Restore = <A, Err, R>(effect: Effect.Effect<A, Err, R>) => Effect.Effect<A, Err, R>

const gone = new E.GatewayGone({ departure: "cancelled" })

/**
 * One StreamPredict call from its headers to its end. It reads from top to bottom: the door, the first message, the door again,
 * the record; then the stream itself, which is the only part that can be interrupted; then its end, committed before it is told.
 */
export const predict = (options: PredictOptions) => {
  const { arrivals, breaker, env, meter, reports, streams, tenants, tracer, unadmitted } = options
  const { connection, metrics, watchdog } = env

  /** Ends a call that had not become a stream, in the step in which that is decided: what is true now is what it is told. */
  const turnAway = (call: ServerCall, span: StreamSpan, error: E.StreamError): Effect.Effect<void> => {
    span.end(undefined, unadmitted.endStream(call, error))
    return Effect.void
  }

  /** A compressed request is opened before the stream begins; nobody else waits for that. */
  const identify = (first: FrameBatch | undefined, call: ServerCall): Effect.Effect<StreamIdentity | undefined> => {
    if (first === undefined || first[0] === 0) return Effect.undefined
    const [message = new Uint8Array()] = payloads(first)
    return options.decompress(message, call.encoding).pipe(
      Effect.map(peekRequest),
      Effect.orElseSucceed(() => undefined)
    )
  }

  const ended = (stream: StreamUnderWay, exit: Exit.Exit<void, E.StreamError>): StreamEnd => {
    const { call, status, tally: { chunks: delivered, ended } } = stream
    const at = watchdog.now()
    return endOf(exit, { ended, delivered, missed: at >= missedFrom(call), status, at })
  }

  const run = (stream: StreamUnderWay, first: FrameBatch | undefined, guarded: boolean) =>
    Effect.scoped(
      Effect.onExit(
        Effect.andThen(
          takeRequests(stream, first),
          stream.limits.deadlineAt <= watchdog.now()
            ? Effect.fail(new E.DeadlineExceeded({ delivered: 0 }))
            : deliver(stream, guarded ? breaker : undefined)
        ),
        (exit) => {
          const end = ended(stream, exit)
          stream.end = end
          if (Exit.isFailure(exit)) {
            const error = E.errorOf(exit.cause)
            const vanished = error?._tag === "GatewayGone" && error.departure === "vanished"
            if (vanished && !stream.tally.ended) metrics.gatewaySendError()
            stream.cancelsAtWorker = end.outcome === "cancelled" && stream.attempt !== undefined
          }
          return Effect.void
        }
      )
    )

  const finish = (stream: StreamUnderWay): Effect.Effect<void> => {
    const { call, limits, span, tally } = stream
    const end = stream.end ?? ended(stream, Exit.fail(gone))
    if (stream.cancelsAtWorker) metrics.cancelPropagated((watchdog.now() - end.at) / 1000)
    stream.release()
    return Effect.flatMap(meter.close(tally, end), () => {
      call.end(end.status, end.delivery)
      const now = watchdog.now()
      metrics.streamOverhead((stream.admissionMillis + now - end.at) / 1000)
      span.end(tally, end)
      const { outcome, status } = end
      const told = { outcome, status, at: now, queuedMillis: limits.queuedMillis, exportedTraceId: span.traceId }
      reports.tell(reportOf(call, tally, told))
      stream.account?.leave()
      streams.end(stream)
      return Effect.void
    })
  }

  /** From here on the stream counts: it has a record, whatever its end. */
  const carry = (
    call: ServerCall,
    span: StreamSpan,
    metadata: Passed["metadata"],
    first: FrameBatch | undefined,
    guarded: boolean,
    restore: Restore
  ): Effect.Effect<void> =>
    Effect.flatMap(identify(first, call), (identity) =>
      Effect.withFiber((fiber) => {
        // Known from the start: whoever is interrupted before its requests are taken has a record, too.
        const known = identity ?? (first === undefined ? undefined : identityOf(first))
        const account = tenants.areLimited ? tenants.admit(known?.tenant ?? "") : undefined
        if (account !== undefined && "_tag" in account) {
          streams.turnBack()
          return turnAway(call, span, account)
        }
        if (span.traceparent !== undefined) metadata["traceparent"] = span.traceparent
        if (span.root) delete metadata["tracestate"]
        const tally = meter.open()
        if (known !== undefined) tally.identity = known
        const stream = new StreamUnderWay(call, metadata, tally, span, env, fiber, account)
        streams.begin(stream)
        watchdog.add(stream.limits)
        const over = (): Effect.Effect<void> => finish(stream)
        return Effect.matchCauseEffect(restore(run(stream, first, guarded)), { onSuccess: over, onFailure: over })
      }))

  const letIn = (
    call: ServerCall,
    span: StreamSpan,
    metadata: Passed["metadata"],
    first: FrameBatch | undefined,
    restore: Restore
  ): Effect.Effect<void> => {
    const refused = options.refusal()
    if (refused !== undefined) return turnAway(call, span, refused)
    streams.enter()
    if (!breaker.isWatchful() || connection.link() === undefined) {
      return carry(call, span, metadata, first, false, restore)
    }
    return Effect.flatMap(breaker.refusal, (open) => {
      if (open === undefined) return carry(call, span, metadata, first, true, restore)
      streams.turnBack()
      return turnAway(call, span, open)
    })
  }

  return (call: ServerCall): Effect.Effect<void> =>
    Effect.uninterruptibleMask((restore) => {
      metrics.streamStarted()
      const span = tracer.start(call.metadata)
      const { bytes, metadata } = pass(call.metadata)
      const refused = options.refusal() ?? options.tooLarge(call, bytes)
      if (refused !== undefined) return turnAway(call, span, refused)
      return Effect.matchCauseEffect(restore(arrivals.awaitFirst(call, options.admit)), {
        onSuccess: (first) => letIn(call, span, metadata, first, restore),
        onFailure: (cause) => turnAway(call, span, atDeadline(call, E.errorOf(cause) ?? gone, 0, watchdog.now()))
      })
    })
}
