import { Effect, Exit, Layer, Logger, Random } from "effect"
import {
  InferenceProxy,
  MetricReadings,
  Metrics,
  type Settings,
  Status,
  type UsageBalance,
  UsageJournal,
  type UsageRecord,
  type Wire,
  WorkerConnection,
  type WorkerState
} from "../../../src/index.ts"
import {
  Answer,
  Messages,
  Recorder,
  ScriptedGateway,
  ScriptedWorker,
  Simulation,
  TestConfig,
  Timeline
} from "../../../src/testing.ts"
import { Chance } from "./chance.ts"
import type { Call, Operation, Plan, Script } from "./plan.ts"
import { VirtualTime } from "./virtualTime.ts"

/** What a frame of the worker was. */
export type FrameKind = "notice" | "token" | "end"

/** One time that a stream was at the worker. */
export interface Attempt {
  readonly seen: ReturnType<ScriptedWorker.ScriptedWorker["Service"]["streams"]>[number]
  /** The frames that were really sent. */
  readonly frames: ReadonlyArray<FrameKind>
  /** Virtual time of the last one. */
  readonly lastFrameAt: number | undefined
}

/** What became of one call, from all sides. */
export interface CallEvidence {
  readonly plan: Call
  readonly traceId: string
  readonly request: Uint8Array
  readonly seen: ScriptedGateway.GatewayReply
  /** The worker's status and the streams in flight just before it was opened. */
  readonly stateBefore: WorkerState
  readonly inFlightBefore: number
  readonly drainingBefore: boolean
  /** What the sidecar said of its readiness, and how many it held, in the step in which the call began. */
  readonly readyBefore: boolean
  readonly heldBefore: number
  /** What became of it in that same step: nothing may have happened in between. */
  readonly atOnce: "ended" | "sent" | undefined
  /** The status had not changed once it was opened. */
  readonly stateStood: boolean
  readonly attempts: ReadonlyArray<Attempt>
  readonly records: ReadonlyArray<UsageRecord>
}

/** A look at the gauges. */
export interface Sample {
  readonly at: number
  readonly held: number
  readonly queued: number
  readonly inFlight: number
  /** Request bytes that are held at least and at most: which of the waiting streams are held is not known from here. */
  readonly leastBytes: number
  readonly mostBytes: number
}

/** Everything that the rules look at. Times are virtual milliseconds. */
export interface Evidence {
  readonly plan: Plan
  readonly settings: Settings
  /** The StreamPredict calls. */
  readonly calls: ReadonlyArray<CallEvidence>
  /** Those of a method that the sidecar gives no meaning. */
  readonly foreign: ReadonlyArray<CallEvidence>
  /** Calls made after the healing, one after the other. */
  readonly late: ReadonlyArray<CallEvidence>
  readonly history: ReadonlyArray<{ readonly at: number; readonly state: WorkerState }>
  readonly samples: ReadonlyArray<Sample>
  readonly healedAt: number
  /** `undefined`: not within the time that the plan gives it. */
  readonly connectedAt: number | undefined
  readonly stillInFlight: number
  readonly figures: Readonly<Record<string, number>>
  readonly balance: UsageBalance
  readonly records: ReadonlyArray<UsageRecord>
  readonly dials: number
  readonly healthCalls: number
  readonly events: ReadonlyArray<Recorder.TraceEvent>
  readonly trace: string
  readonly endedAt: number
}

/** A run: what was seen, or what it died of. */
export interface Played {
  readonly evidence: Evidence | undefined
  readonly died: string | undefined
  readonly leftFibers: number
  readonly leftSleepers: number
  readonly leftTasks: number
  readonly leftLinks: number
  readonly virtualMillis: number
  readonly tasks: number
}

const SECOND = 1000

/** A method of another service. */
const FOREIGN = "/cy.llm.AiTraining/StreamProgress"

/** The texts that a call's tokens have: unlike those of any other call. */
export const tokenTexts = (traceId: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, n) => `${traceId}:${n} `)

const NOTICE = "[模型加载]"

export const noticeTexts = (traceId: string, count: number): ReadonlyArray<string> =>
  Array.from({ length: count }, (_, n) => `${NOTICE} ${traceId} ${n}\n`)

/** What the worker reports in its trailers under `end: usage`. */
export const reportedTokens = (script: Script): number => script.tokens * 2 + 3

const kindOf = (message: Uint8Array): FrameKind => {
  const { chunk, endOfStream } = Messages.decodeReply(message)
  return endOfStream ? "end" : chunk.startsWith(NOTICE) ? "notice" : "token"
}

const statusOf = (script: Script): { code: number; message: string; metadata?: Readonly<Record<string, string>> } => {
  switch (script.end) {
    case "usage":
      return {
        code: Status.Code.OK,
        message: "",
        metadata: { "cy-completion-tokens": String(reportedTokens(script)), "cy-prompt-tokens": "11" }
      }
    case "error":
      return { code: Status.Code.RESOURCE_EXHAUSTED, message: "out of memory" }
    case "internal":
      return { code: Status.Code.INTERNAL, message: "CUDA error" }
    case "invalid":
      return { code: Status.Code.INVALID_ARGUMENT, message: "no such model" }
    default:
      return { code: Status.Code.OK, message: "" }
  }
}
export const workerStatus = statusOf

/** The worker's answer to a request that carries its script. */
const answering = (sent: Map<number, Array<FrameKind>>): Answer.Answer =>
  Effect.fnUntraced(function*(side: Answer.WorkerSide) {
    const first = yield* side.request
    if (first === undefined) return Status.make(Status.Code.INVALID_ARGUMENT, "Empty request stream")
    const request = Messages.decodeRequest(first)
    const { traceId } = request.metadata
    const script: Script = JSON.parse(request.prompt)
    const { code, message, metadata } = statusOf(script)
    if (["empty", "internal", "invalid"].includes(script.end)) return Status.make(code, message)
    const frames: Array<FrameKind> = []
    sent.set(side.call.id, frames)
    const noting: Answer.WorkerSide = {
      ...side,
      send: (batch) =>
        Effect.suspend(() => {
          frames.push(...Messages.unframed(batch).map(kindOf))
          return side.send(batch)
        })
    }
    const answer = Answer.tokens({
      tokens: tokenTexts(traceId, script.tokens),
      notices: noticeTexts(traceId, script.notices),
      ...(script.firstAfterMillis > 0 ? { firstAfter: script.firstAfterMillis } : {}),
      every: script.everyMillis,
      batch: script.batch,
      ...(script.headers ? { headers: { "x-worker": "scripted" } } : {}),
      endOfStream: ["ok", "usage", "linger"].includes(script.end),
      status: { code, message, ...(metadata === undefined ? {} : { metadata }) }
    })
    const status = yield* answer(noting)
    if (script.end === "stuck") return yield* Effect.never
    if (script.end === "linger") yield* Effect.sleep("1 minute")
    return status
  })

const requestOf = (call: Call, traceId: string): Uint8Array =>
  Messages.encodeRequest({
    traceId,
    modelId: "qwen-7b",
    tenant: "t",
    prompt: JSON.stringify(call.script),
    priority: call.priority,
    ...(call.paddingBytes > 0 ? { extra: { padding: "x".repeat(call.paddingBytes) } } : {})
  })

/** What a gateway's library or an attacker may send along; some of it would break the worker's connection. */
const ODD_METADATA: Wire.Metadata = {
  "http2-settings": "x",
  connection: "keep-alive",
  te: "trailers",
  "grpc-timeout": "1S",
  "content-type": "application/grpc",
  authorization: ["Bearer a", "Bearer b"],
  "x-line": "a\nb",
  "x-name": "名",
  "X-Upper": "x",
  "x-kept": "kept",
  "x-some": ["1", "2"]
}

const gatewayOptions = (call: Call, message: Uint8Array): ScriptedGateway.GatewayOptions => ({
  messages: [message],
  ...(call.foreign ? { path: FOREIGN } : {}),
  metadata: { ...(call.notice ? { "cy-notice": "message" } : {}), ...(call.odd ? ODD_METADATA : {}) },
  ...(call.timeoutMillis === undefined ? {} : { timeoutMillis: call.timeoutMillis }),
  ...(call.cancelAfterMillis === undefined ? {} : { cancelAfter: call.cancelAfterMillis }),
  ...(call.vanishAfterMillis === undefined ? {} : { vanishAfter: call.vanishAfterMillis }),
  ...(call.cancelAfterMessages === undefined ? {} : { cancelAfterMessages: call.cancelAfterMessages }),
  reader: call.reader === "eager"
    ? "eager"
    : "everyMillis" in call.reader
    ? { every: call.reader.everyMillis }
    : { stallAfter: call.reader.stallAfter },
  windowBytes: call.windowBytes,
  halfClose: call.halfClose
})

/** How long after the healing the sidecar may take until it is connected: one wait of its schedule, and a probe. */
export const connectWithinMillis = (plan: Plan, settings: Settings): number => {
  const { check_interval_secs, check_timeout_secs, reconnect_delay_secs } = settings.health
  const wait = plan.worker.watch ? 0 : Math.max(check_interval_secs, reconnect_delay_secs) * 1.2
  return (wait + check_timeout_secs) * SECOND + 1500
}

/** By when every stream must have ended: the sum of all limits. */
const quietWithinMillis = (plan: Plan, { reload, server }: Settings): number => {
  // A model that loads says so once a second.
  const loading = plan.timeline.reduce((sum, { action }) => sum + (action._tag === "Reload" ? action.seconds : 0), 0)
  const slowest = plan.calls.reduce((most, { reader, script }) => {
    const reading = reader !== "eager" && "everyMillis" in reader ? reader.everyMillis : 0
    const frames = script.tokens + script.notices + loading + 2
    return Math.max(most, frames * (reading + script.everyMillis) + script.firstAfterMillis)
  }, 0)
  const waits = server.first_token_timeout_secs + server.stream_idle_timeout_secs + server.slow_reader_timeout_secs +
    reload.hold_timeout_secs * 2 + reload.hold_on_disconnect_secs + server.queue_timeout_secs * 2
  return slowest + waits * SECOND + 120_000
}

interface Opened {
  readonly plan: Call
  readonly traceId: string
  readonly request: Uint8Array
  readonly seen: ScriptedGateway.GatewayReply
  readonly stateBefore: WorkerState
  readonly inFlightBefore: number
  readonly drainingBefore: boolean
  readonly readyBefore: boolean
  readonly heldBefore: number
  readonly atOnce: CallEvidence["atOnce"]
  readonly stateStood: boolean
}

const DEFAULT_CALL: Call = {
  atMillis: 0,
  script: { tokens: 3, notices: 0, firstAfterMillis: 0, everyMillis: 10, batch: 1, headers: true, end: "ok" },
  priority: 0,
  paddingBytes: 0,
  reader: "eager",
  windowBytes: 65_536,
  halfClose: "at once",
  notice: false,
  odd: false,
  foreign: false
}

const program = (plan: Plan, settings: Settings, now: () => number, onWorld: (links: () => number) => void) =>
  Effect.gen(function*() {
    const connection = yield* WorkerConnection
    const proxy = yield* InferenceProxy
    const metrics = yield* Metrics
    const readings = yield* MetricReadings
    const journal = yield* UsageJournal
    const worker = yield* ScriptedWorker.ScriptedWorker
    const recorder = yield* Recorder.Recorder
    onWorld(worker.openLinks)
    const sent = new Map<number, Array<FrameKind>>()
    yield* worker.answer(answering(sent))
    yield* worker.answerAt(FOREIGN, answering(sent))

    const history: Array<{ at: number; state: WorkerState }> = [{ at: now(), state: connection.current() }]
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        connection.onChange((state) => {
          history.push({ at: now(), state })
          recorder.record(
            "test",
            "status",
            state._tag === "Disconnected" ? `${state._tag} ${state.reason}` : state._tag
          )
        })
      ),
      (unsubscribe) => Effect.sync(unsubscribe)
    )

    const opened: Array<Opened> = []
    const samples: Array<Sample> = []
    const gauge = (name: string): number => readings.series(name)[0]?.value ?? 0
    const look = (): void => {
      const atWorker = new Set(
        worker.streams().filter(({ end }) => end === undefined).map(({ requests }) =>
          requests[0] === undefined ? "" : Messages.decodeRequest(requests[0]).metadata.traceId
        )
      )
      const waiting = opened
        .filter(({ plan, seen, traceId }) => seen.handledAt === undefined && !plan.foreign && !atWorker.has(traceId))
        .map(({ request }) => request.length + 5)
        .sort((a, b) => a - b)
      const held = gauge("sidecar_streams_held")
      const sum = (sizes: ReadonlyArray<number>) => sizes.reduce((total, size) => total + size, 0)
      samples.push({
        at: now(),
        held,
        queued: gauge("sidecar_streams_queued"),
        inFlight: proxy.inFlight(),
        leastBytes: sum(waiting.slice(0, held)),
        mostBytes: sum(waiting)
      })
    }

    const open = Effect.fnUntraced(function*(call: Call, traceId: string) {
      const request = requestOf(call, traceId)
      const stateBefore = connection.current()
      const inFlightBefore = proxy.inFlight()
      const drainingBefore = proxy.draining()
      const handler = call.foreign ? proxy.passthrough : proxy.predict
      let readyBefore = proxy.ready()
      let heldBefore = gauge("sidecar_streams_held")
      const sentBefore = worker.streams().length
      const gateway = yield* ScriptedGateway.openOn((served) => {
        // How many there were is known in the step of the refusal only.
        const end = served.end.bind(served)
        served.end = (status, delivery) => {
          if (status.metadata["cy-reason"] === "too_many_streams") look()
          end(status, delivery)
        }
        return Effect.suspend(() => {
          readyBefore = proxy.ready()
          heldBefore = gauge("sidecar_streams_held")
          return handler(served)
        })
      }, gatewayOptions(call, request))
      const stateStood = connection.current()._tag === stateBefore._tag && proxy.draining() === drainingBefore
      const sent = worker.streams().length > sentBefore
      const atOnce = gateway.seen.endedAt !== undefined ? "ended" : sent ? "sent" : undefined
      opened.push({
        plan: call,
        traceId,
        request,
        seen: gateway.seen,
        stateBefore,
        inFlightBefore,
        drainingBefore,
        readyBefore,
        heldBefore,
        atOnce,
        stateStood
      })
      look()
      return gateway
    })

    const operate = (operation: Operation): Effect.Effect<void> => {
      recorder.record("test", operation.what)
      switch (operation.what) {
        case "announce reload":
          return connection.announceReload(operation.etaSeconds)
        case "announce ready":
          return connection.announceReady
        case "reconnect":
          return connection.reconnect
        case "drain":
          return proxy.drain
        case "undrain":
          return proxy.undrain
        case "abort":
          return proxy.abortAll
      }
    }

    const started = now()
    const at = (millis: number) => Effect.suspend(() => Effect.sleep(Math.max(0, started + millis - now())))
    yield* Effect.forEach(
      plan.calls,
      (call, n) =>
        Effect.forkScoped(Effect.andThen(at(call.atMillis), open(call, `g${n}`)), { startImmediately: true }),
      {
        discard: true
      }
    )
    yield* Effect.forEach(plan.operations, (operation) =>
      Effect.forkScoped(
        Effect.andThen(at(operation.atMillis), Effect.suspend(() => operate(operation))),
        { startImmediately: true }
      ), { discard: true })

    yield* at(plan.healAtMillis)
    const healedAt = now()
    yield* worker.perform(Timeline.Action.ComeBack())
    yield* proxy.undrain
    const limit = healedAt + connectWithinMillis(plan, settings)
    while (connection.current()._tag !== "Connected" && now() < limit) yield* Effect.sleep(50)
    const connectedAt = connection.current()._tag === "Connected" ? now() : undefined

    const quiet = now() + quietWithinMillis(plan, settings)
    const busy = () => proxy.inFlight() > 0 || opened.some(({ seen }) => seen.handledAt === undefined)
    // What was cancelled may still keep the worker busy for a while.
    while ((busy() || connection.current()._tag !== "Connected") && now() < quiet) {
      yield* Effect.sleep(SECOND)
      look()
    }
    const stillInFlight = proxy.inFlight()
    yield* proxy.abortAll
    // An open circuit closes again, a queued checkpoint is written, and the sums are reported.
    yield* Effect.sleep((settings.circuit_breaker.open_secs + 6) * SECOND)
    const first = opened.length
    for (let n = 0; n < 3; n++) {
      const call = yield* open(DEFAULT_CALL, `late${n}`)
      yield* Effect.timeoutOption(call.handled, "10 seconds")
    }
    yield* Effect.sleep(SECOND)
    look()

    const records: Array<UsageRecord> = []
    while (true) {
      const batch = yield* Effect.orDie(journal.nextBatch(500))
      if (batch === undefined) break
      records.push(...batch.records)
      yield* Effect.orDie(journal.settle(batch.batchId, { _tag: "Acknowledged" }))
    }
    const attempts = new Map<string, Array<Attempt>>()
    const streams = worker.calls().filter(({ path }) => path === ScriptedWorker.STREAM_PREDICT || path === FOREIGN)
    for (const seen of streams) {
      const request = seen.requests[0]
      // A call that the link refused had no request yet; it is in the trace, and it counts for nobody.
      if (request === undefined) continue
      const { traceId } = Messages.decodeRequest(request).metadata
      const attempt = { seen, frames: (sent.get(seen.id) ?? []).slice(0, seen.framesSent), lastFrameAt: undefined }
      attempts.set(traceId, [...(attempts.get(traceId) ?? []), attempt])
    }
    const evidenceOf = (call: Opened): CallEvidence => ({
      ...call,
      attempts: attempts.get(call.traceId) ?? [],
      records: records.filter((record) => record.trace_id === call.traceId)
    })
    const evidence: Evidence = {
      plan,
      settings,
      calls: opened.slice(0, first).filter((call) => !call.plan.foreign).map(evidenceOf),
      foreign: opened.slice(0, first).filter((call) => call.plan.foreign).map(evidenceOf),
      late: opened.slice(first).map(evidenceOf),
      history,
      samples,
      healedAt,
      connectedAt,
      stillInFlight,
      figures: yield* metrics.figures,
      balance: yield* journal.balance,
      records,
      dials: worker.dials(),
      healthCalls: worker.calls().length - streams.length,
      events: [...recorder.events()],
      trace: recorder.format(),
      endedAt: now()
    }
    return evidence
  })

/** Plays a plan on virtual time: the real core of the sidecar, from its start to the end of its scope. */
export const play = (plan: Plan): Played => {
  const time = new VirtualTime(new Chance(plan.seed, 1), plan.machine)
  const now = () => time.currentTimeMillisUnsafe()
  const settings = TestConfig.make(plan.config)
  let openLinks = () => 0
  const world = Simulation.layer({
    config: plan.config,
    worker: {
      timeline: plan.timeline,
      generationSurvivesCancel: plan.worker.generationSurvivesCancel,
      watch: plan.worker.watch,
      ...(plan.worker.threads === undefined ? {} : { threads: plan.worker.threads })
    }
  })
  let evidence: Evidence | undefined
  let died: string | undefined
  try {
    const exit = time.run(
      program(plan, settings, now, (links) => {
        openLinks = links
      }).pipe(
        Effect.scoped,
        Effect.provide(Layer.provideMerge(world, Logger.layer([]))),
        Random.withSeed(String(plan.seed))
      )
    )
    if (Exit.isSuccess(exit)) evidence = exit.value
    else died = String(exit.cause)
  } catch (error) {
    died = String(error)
  }
  return {
    evidence,
    died,
    leftFibers: time.left.fibers,
    leftSleepers: time.left.sleepers,
    leftTasks: time.left.tasks,
    leftLinks: openLinks(),
    virtualMillis: now(),
    tasks: time.tasks
  }
}
