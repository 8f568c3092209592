import { Clock, Duration, Effect, Result } from "effect"
import { Headers, HttpBody, HttpClient, HttpClientRequest, type HttpClientResponse } from "effect/http"
import type { LimitTeller } from "../../services/Limits.ts"
import { type AnswerLimits, firstBytes } from "../outbound/answer.ts"
import { foreignWords } from "../outbound/conceal.ts"
import { innermostCause } from "../outbound/innermostCause.ts"
import { version } from "../version.ts"
import { counted } from "../words.ts"
import type { OtlpSettings } from "./otelEnvironment.ts"
import { rejectedSpans, rejectedSpansOf, statusWords } from "./otlpAnswer.ts"
import { encodeTraces } from "./otlpProtobuf.ts"
import { type EndedSpan, tracesData } from "./otlpSpan.ts"

/** Spans that wait for the collector; more are dropped. */
const maxWaiting = 4096
/** Those of refused calls among them: a flood of them leaves room for the streams. */
const maxWaitingRefused = 1024
/** Spans in one request: to put so many into words takes less than ten milliseconds of the event loop. */
const maxBatch = 256
/** A batch that a collector cannot take now is offered so often; then it makes room for the next. */
const maxTries = 5
/** How long the collector is left alone after it failed: twice as long each time, and the longest. Milliseconds. */
const pauses = { first: 1000, longest: 30_000 }
/** A collector that refuses what it is sent is asked again after this; nobody waits longer for one, whatever it says. */
const pauseAfterRefusal = 10_000
const longestRetryAfter = 300_000
/** What is read of an answer: what was rejected stands in it. */
const answerLimits: AnswerLimits = { bytes: 16_384, millis: 1000 }
/** So much of a collector's words is logged. Characters. */
const wordsLimit = 200

/** Answers after which the same request may succeed (OTLP specification, "OTLP/HTTP Response"). */
const isRetryable = (status: number): boolean => status === 429 || (status >= 502 && status <= 504)

/** Why a batch was not delivered. */
interface Failure {
  readonly why: string
  readonly retryable: boolean
  readonly retryAfterMillis: number | undefined
}

/** Hands ended spans to a collector. */
export interface OtlpExporter {
  readonly push: (span: EndedSpan) => void
  /** Sends all that waits, batch by batch. Answers how long the collector wants to be left alone, in milliseconds. */
  readonly flush: Effect.Effect<number>
  /** The last flush: one try, unless the collector has asked for a pause; says what is lost. */
  readonly close: Effect.Effect<void>
}

/**
 * A bounded queue before a collector that is not trusted.
 *
 * Effect's exporter is not used: a collector that hangs makes it keep batch after batch without a bound and for ever, a
 * failure empties its queue unseen, it reads answers to their end, does not look at what was rejected, and knows
 * `Retry-After` with 429 only.
 */
export const makeOtlpExporter = Effect.fnUntraced(function*(
  settings: OtlpSettings,
  limits: LimitTeller
): Effect.fn.Return<OtlpExporter, never, HttpClient.HttpClient> {
  const client = yield* HttpClient.HttpClient
  const clock = yield* Clock.Clock
  const { gzip, protocol, resource, secrets, timeoutMillis, url } = settings
  const words = (text: string): string => foreignWords(text, wordsLimit, secrets)
  const request = HttpClientRequest.setHeaders(HttpClientRequest.post(url), {
    "user-agent": `cy-llm-sidecar/${version}`,
    ...settings.headers
  })
  const waiting: Array<EndedSpan> = []
  const refused = { waiting: 0 }
  /** Spans that nobody will see, since it was last told. */
  const lost = { spans: 0 }
  const trouble = { failing: false, rejecting: false, tries: 0, until: 0 }

  const push = (span: EndedSpan): void => {
    const isRefusal = span.tally === undefined
    if (waiting.length >= maxWaiting || (isRefusal && refused.waiting >= maxWaitingRefused)) {
      lost.spans++
      limits.reached("spans", () => `more than ${maxWaiting} spans wait for the collector: further ones are dropped`)
      return
    }
    if (isRefusal) refused.waiting++
    waiting.push(span)
  }

  const remove = (count: number): void => {
    for (const { tally } of waiting.splice(0, count)) if (tally === undefined) refused.waiting--
  }

  const bodyOf = (spans: ReadonlyArray<EndedSpan>): HttpBody.HttpBody => {
    const data = tracesData(spans, resource, version)
    return protocol === "http/protobuf"
      ? HttpBody.uint8Array(encodeTraces(data), "application/x-protobuf")
      : HttpBody.text(JSON.stringify(data), "application/json")
  }

  const isProtobuf = (response: HttpClientResponse.HttpClientResponse): boolean =>
    response.headers["content-type"]?.startsWith("application/x-protobuf") === true

  const judge = (response: HttpClientResponse.HttpClientResponse): Effect.Effect<Failure | undefined> =>
    Effect.flatMap(firstBytes(response, answerLimits), (bytes) => {
      const { status } = response
      const text = isProtobuf(response) ? statusWords(bytes) : new TextDecoder().decode(bytes)
      if (status >= 200 && status < 300) {
        return Effect.as(tellRejected(isProtobuf(response) ? rejectedSpansOf(bytes) : rejectedSpans(text)), undefined)
      }
      return Effect.succeed({
        why: `HTTP ${status} ${words(text)}`.trim(),
        retryable: isRetryable(status),
        retryAfterMillis: retryAfterMillis(response.headers["retry-after"], clock.currentTimeMillisUnsafe())
      })
    })

  const failedWith = (why: string): Effect.Effect<Failure> =>
    Effect.succeed({ why, retryable: true, retryAfterMillis: undefined })

  /** `undefined`: the status line says that it was delivered. Redirects are not followed. */
  const post = (spans: ReadonlyArray<EndedSpan>): Effect.Effect<Failure | undefined> =>
    Effect.suspend(() => {
      const whole = HttpClientRequest.setBody(request, bodyOf(spans))
      return gzip ? HttpClientRequest.compressBody(whole, "gzip") : Effect.succeed(whole)
    }).pipe(
      Effect.flatMap(client.execute),
      // A post belongs to no stream's trace.
      Effect.provideService(HttpClient.TracerPropagationEnabled, false),
      Effect.withTracerEnabled(false),
      Effect.timeout(timeoutMillis),
      Effect.flatMap(judge),
      Effect.catchTags({
        TimeoutError: () => failedWith("no answer"),
        HttpClientError: (error) => failedWith(words(innermostCause(error)))
      }),
      // Node throws at a request that it cannot make: that ends no exporter.
      Effect.catchDefect((defect) => failedWith(words(innermostCause(defect))))
    )

  const tellRejected = ({ message, spans }: { readonly message: string; readonly spans: number }) =>
    Effect.suspend(() => {
      const first = !trouble.rejecting
      trouble.rejecting = spans > 0
      lost.spans += spans
      return spans > 0 && first
        ? Effect.logWarning(`traces: the collector took a report and rejected ${spans} of its spans: ${words(message)}`)
        : Effect.void
    })

  const tellFailed = (why: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (trouble.failing) return Effect.logDebug(`traces: still not delivered (${why})`)
      trouble.failing = true
      return Effect.logWarning(
        `traces cannot be delivered to ${url.host} (${why}): streams go on, at most ${maxWaiting} spans wait; look at the ` +
          "collector, or at [observability] otlp_endpoint"
      )
    })

  const tellDelivered = Effect.suspend(() => {
    trouble.tries = 0
    if (!trouble.failing) return Effect.void
    trouble.failing = false
    const { spans } = lost
    lost.spans = 0
    return Effect.logInfo(`traces are delivered again; ${counted(spans, "span")} ${spans === 1 ? "was" : "were"} lost`)
  })

  /** What becomes of the batch, and how long to wait. */
  const settle = (failure: Failure, count: number): number => {
    trouble.tries++
    const again = failure.retryable && trouble.tries < maxTries
    const pause = failure.retryAfterMillis ??
      (failure.retryable ? Math.min(pauses.longest, pauses.first * 2 ** (trouble.tries - 1)) : pauseAfterRefusal)
    if (!again) {
      remove(count)
      lost.spans += count
      trouble.tries = 0
    }
    trouble.until = failure.retryAfterMillis === undefined ? 0 : clock.currentTimeMillisUnsafe() + pause
    return pause
  }

  const flush: Effect.Effect<number> = Effect.suspend(() => {
    if (waiting.length === 0) return Effect.succeed(0)
    // They wait until they are delivered: interrupted, they are still there, and a collector knows a span by its id.
    const batch = waiting.slice(0, maxBatch)
    return Effect.flatMap(post(batch), (failure) => {
      if (failure !== undefined) return Effect.as(tellFailed(failure.why), settle(failure, batch.length))
      remove(batch.length)
      return Effect.andThen(tellDelivered, flush)
    })
  })

  const close = (limit: Duration.Input): Effect.Effect<void> =>
    Effect.suspend(() =>
      trouble.until > clock.currentTimeMillisUnsafe() ? Effect.void : Effect.timeoutOption(flush, limit)
    ).pipe(Effect.andThen(Effect.suspend(() => {
      const gone = waiting.length + (trouble.failing ? lost.spans : 0)
      return gone === 0 ? Effect.void : Effect.logWarning(`traces: ${counted(gone, "span")} could not be delivered`)
    })))

  return { push, flush, close: close(lastFlush) }
})

/** How long the last spans may take when the sidecar stops. */
const lastFlush = "2 seconds"

const retryAfterMillis = (header: string | undefined, now: number): number | undefined => {
  const parsed = header === undefined ? undefined : Headers.parseRetryAfter(header)
  if (parsed === undefined || Result.isFailure(parsed)) return undefined
  return Math.min(longestRetryAfter, Duration.toMillis(Headers.retryAfterDelay(parsed.success, now)))
}
