import { Clock, Effect } from "effect"
import type { BillingCondition } from "../../services/BillingSink.ts"
import type { CallHandler } from "../../services/GrpcServer.ts"
import type { InferenceProxy } from "../../services/InferenceProxy.ts"
import type { Metrics } from "../../services/Metrics.ts"
import type { PastEvent } from "../../services/PastEvent.ts"
import * as Status from "../../services/Status.ts"
import type { ServerCall, Status as GrpcStatus } from "../../services/Wire.ts"
import type { WorkerConnection } from "../../services/WorkerConnection.ts"
import { describe } from "../connection/statusWords.ts"
import { decodeControl, encodeControl, MAX_ETA_SECS } from "../connection/workerRpc.ts"
import { monotonicMillis } from "../monotonic.ts"
import { streamRows } from "../ops/streamRow.ts"
import { version } from "../version.ts"
import { isForwarded } from "../wire/trust.ts"
import { commandOf } from "./aiMessages.ts"
import { countingDeparture, withinDeadline } from "./answer.ts"
import { configCommands, type ConfigCommandsOptions } from "./configCommands.ts"
import { type Command, done, mistake, type Payload } from "./controlCommand.ts"
import { type Peeked, peekFirst } from "./peekedCall.ts"
import { unary, type UnaryOptions } from "./unary.ts"

/** Streams of one answer of `sidecar.streams`, the oldest ones. */
const MOST_STREAMS = 1000

/** Commands that start so are the sidecar's own; all others go to the worker. */
const OWN = "sidecar."

export interface ControlOptions extends UnaryOptions, ConfigCommandsOptions {
  readonly connection: WorkerConnection["Service"]
  readonly proxy: InferenceProxy["Service"]
  readonly metrics: Metrics["Service"]
  /** How usage is reported. */
  readonly billing: BillingCondition["Service"]
  /** What happened lately, the oldest first. */
  readonly history: () => ReadonlyArray<PastEvent>
  /** Monotonic milliseconds. */
  readonly startedAt: number
}

/** The figures of the sidecar by their metric names, as text. */
export const ownFigures = (figures: Readonly<Record<string, number>>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(figures).filter(([name]) => name.startsWith("sidecar_")).map((
      [name, value]
    ) => [name, String(value)])
  )

/** How long the worker's status has been what it is, and until when it is expected to stay so, in seconds. */
const durations = (connection: WorkerConnection["Service"]): Payload => {
  const due = connection.dueInMillis()
  return {
    worker_since_secs: (connection.elapsedMillis() / 1000).toFixed(1),
    ...(due === undefined ? {} : { worker_due_secs: (due / 1000).toFixed(1) })
  }
}

/** How usage is reported, and for how long it has not been. */
const billingWords = ({ condition, elapsedMillis }: BillingCondition["Service"]): Payload => {
  const state = condition()
  return state._tag === "failing"
    ? {
      billing: state._tag,
      billing_reason: state.reason,
      billing_detail: state.detail,
      ...(state.remedy === undefined ? {} : { billing_remedy: state.remedy }),
      billing_since_secs: (elapsedMillis() / 1000).toFixed(1)
    }
    : { billing: state._tag }
}

const listOf = (bind: string | ReadonlyArray<string>): string => typeof bind === "string" ? bind : bind.join(", ")

const commands = (options: ControlOptions): Readonly<Record<string, Command>> => {
  const { config, connection, metrics, proxy } = options
  const workerState = Effect.sync((): Payload => ({ ...done, worker_state: connection.current()._tag }))
  return {
    "sidecar.status": () =>
      Effect.gen(function*() {
        const now = monotonicMillis(yield* Clock.Clock)()
        const figures = yield* metrics.figures
        return {
          ...ownFigures(figures),
          ...done,
          ...describe(connection.current()),
          ...durations(connection),
          version,
          uptime_secs: String(Math.floor((now - options.startedAt) / 1000)),
          draining: String(proxy.draining()),
          streams_in_flight: String(proxy.inFlight()),
          streams_held: String(figures.sidecar_streams_held ?? 0),
          usage_waiting: String(figures[`sidecar_usage_records{state="waiting"}`] ?? 0),
          ...billingWords(options.billing),
          tokens: String(figures.sidecar_tokens_processed_total ?? 0),
          bind_addr: listOf(config.server.bind_addr),
          worker_uds: config.server.worker_uds,
          metrics_addr: `${config.observability.metrics_host}:${config.observability.metrics_port}`
        }
      }),
    "sidecar.reloading": (payload) => {
      const text = payload.eta_seconds
      const eta = text === undefined || text.trim() === "" ? undefined : Number(text)
      if (eta !== undefined && !(Number.isFinite(eta) && eta > 0)) {
        return Effect.succeed(mistake("eta_seconds: expected a positive number of seconds"))
      }
      return Effect.andThen(
        connection.announceReload(eta === undefined ? undefined : Math.min(eta, MAX_ETA_SECS)),
        workerState
      )
    },
    "sidecar.ready": () => Effect.andThen(connection.announceReady, workerState),
    "sidecar.drain": () => Effect.as(proxy.drain, done),
    "sidecar.undrain": () => Effect.as(proxy.undrain, done),
    "sidecar.reconnect": () => Effect.as(connection.reconnect, done),
    ...configCommands(options),
    "sidecar.streams": () =>
      Effect.sync(() => ({
        ...done,
        total: String(proxy.running().length),
        streams: JSON.stringify(streamRows(proxy.running(), MOST_STREAMS))
      })),
    "sidecar.stream_kill": ({ id = "" }) =>
      Effect.suspend(() => {
        if (!proxy.kill(id)) return Effect.succeed(mistake(`no stream under way has the id ${JSON.stringify(id)}`))
        return Effect.as(
          Effect.logWarning("stream ended by an operator").pipe(Effect.annotateLogs({ record_id: id })),
          done
        )
      }),
    "sidecar.events": (payload) => {
      const after = Number(payload.after ?? 0)
      if (!Number.isSafeInteger(after)) return Effect.succeed(mistake("after: expected the revision of an event"))
      return Effect.sync(() => ({
        ...done,
        events: JSON.stringify(options.history().filter(({ revision }) => revision > after))
      }))
    }
  }
}

/** Answers the commands that start with `sidecar.`: only for a trusted peer, since they steer this process. */
const ownCommands = (options: ControlOptions) => {
  const known = new Map(Object.entries(commands(options)))
  const unknown: Command = () => Effect.succeed({ ...mistake("unknown command"), known: [...known.keys()].join(", ") })
  return (request: Uint8Array, call: ServerCall): Effect.Effect<Uint8Array, GrpcStatus> => {
    if (!call.peer.trusted || isForwarded(call.metadata)) {
      return Effect.fail(Status.make(
        Status.Code.PERMISSION_DENIED,
        "sidecar.* commands are for those whom [server] control names, and not for calls that a proxy has passed on",
        { "cy-reason": "control_denied" }
      ))
    }
    const message = decodeControl(request)
    if (message === undefined) {
      return Effect.fail(Status.make(Status.Code.INTERNAL, "Request is not a ControlMessage"))
    }
    const { command, payload, traceId } = message
    const run = known.get(command) ?? unknown
    return Effect.map(run(payload), (payload) => encodeControl({ traceId, command: `${command}_response`, payload }))
  }
}

/**
 * Is this call for the sidecar itself? What cannot be read goes to the worker, which says what it thinks of it; so does
 * what is larger than a command of ours can be.
 */
const isOwn = (peeked: Peeked, options: ControlOptions): Effect.Effect<boolean> => {
  const { message } = peeked
  if (message === undefined || message.length > options.maxMessageBytes) return Effect.succeed(false)
  const plain = peeked.compressed ? options.decompress(message, peeked.call.encoding) : Effect.succeed(message)
  return plain.pipe(
    Effect.map((message) => commandOf(message)?.startsWith(OWN) === true),
    Effect.orElseSucceed(() => false)
  )
}

/**
 * `cy.llm.AiInference/Control`. Commands that start with `sidecar.` are answered here; a call with any other command is
 * carried to the worker as it came.
 */
export const controlHandler = (options: ControlOptions): CallHandler => {
  const own = unary(options, ownCommands(options))
  return (call) =>
    withinDeadline(
      call,
      options.calls.counted(
        call,
        Effect.flatMap(
          options.calls.inTime(peekFirst(call)),
          (peeked) => Effect.map(isOwn(peeked, options), (own) => ({ own, call: peeked.call }))
        )
      )
    ).pipe(
      (peeking) => countingDeparture(call, options.handled, peeking),
      Effect.matchEffect({
        onFailure: (status) =>
          Effect.sync(() => {
            call.end(status)
            options.handled(call.path, status.code)
          }),
        onSuccess: (next) => next.own ? own(next.call) : options.proxy.passthrough(next.call)
      })
    )
}
