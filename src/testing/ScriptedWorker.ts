import { Clock, Context, Deferred, Effect, Fiber, Layer, PubSub, Result, Stream } from "effect"
import { HEALTH_PATH, STREAM_PREDICT_PATH } from "../internal/wire/aiContract.ts"
import { LinkError, type LinkFault, WorkerChannel, type WorkerLink } from "../services/WorkerChannel.ts"
import type { Answer } from "./Answer.ts"
import * as Answers from "./Answer.ts"
import * as Recorder from "./Recorder.ts"
import type { RecordedCall } from "./scriptedLink.ts"
import { type ProcessWorld, ScriptedProcess } from "./scriptedProcess.ts"
import { type Action, formatAction, inOrder, parse, type Timeline } from "./Timeline.ts"

/** Path of the one streaming method that the sidecar gives meaning to. */
export const STREAM_PREDICT = STREAM_PREDICT_PATH

/**
 * The controls of the scripted worker: what the tester holds while the sidecar under test holds the `WorkerChannel`.
 */
export class ScriptedWorker extends Context.Service<ScriptedWorker, {
  /** Does something to the worker, now. */
  readonly perform: (action: Action) => Effect.Effect<void>
  /** How StreamPredict is answered from now on (also by processes that come later). */
  readonly answer: (answer: Answer) => Effect.Effect<void>
  /** How another method is answered, by its path: `/cy.llm.AiTraining/StartTraining`. */
  readonly answerAt: (path: string, answer: Answer) => Effect.Effect<void>
  /** Further metrics of its Health answers. */
  readonly healthMetrics: (metrics: Readonly<Record<string, string>>) => Effect.Effect<void>
  /** Every call that arrived, in order; Health calls of the sidecar too. */
  readonly calls: () => ReadonlyArray<RecordedCall>
  /** The StreamPredict calls that arrived, in order. */
  readonly streams: () => ReadonlyArray<RecordedCall>
  /** Attempts to connect so far. */
  readonly dials: () => number
  /** Links that are open now, to all its processes. */
  readonly openLinks: () => number
}>()("cy-llm-sidecar/testing/ScriptedWorker") {}

/** How the worker begins and what it can do. */
export interface Options {
  /** Whether it runs from the start. Default true. */
  readonly running?: boolean | undefined
  /** What happens to it when: a {@link Timeline} or its text. Default nothing. */
  readonly timeline?: Timeline | string | undefined
  /** How StreamPredict is answered. Default `Answer.tokens()`. */
  readonly answer?: Answer | undefined
  /** Threads shared by streams and Health, as a real worker has 10. Default no limit. */
  readonly threads?: number | undefined
  /** A cancelled stream keeps its thread until its generation is over, as at a real worker. Default false. */
  readonly generationSurvivesCancel?: boolean | undefined
  /** Runs before each frame of a stream: random pauses, to find races. Default nothing. */
  readonly jitter?: Effect.Effect<void> | undefined
  /** Whether the watch on the socket works; without it only the reconnect schedule finds a new worker. Default true. */
  readonly watch?: boolean | undefined
}

type Address = ScriptedProcess | LinkFault

const make = Effect.fnUntraced(function*(options: Options) {
  const clock = yield* Clock.Clock
  const recorder = yield* Recorder.Recorder
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const track = Fiber.runIn(yield* Effect.scope)
  const changes = yield* PubSub.unbounded<"appeared" | "replaced" | "vanished">()
  const answers = new Map<string, Answer>([[STREAM_PREDICT, options.answer ?? Answers.tokens()]])
  const calls: Array<RecordedCall> = []
  const processes: Array<ScriptedProcess> = []
  let health: Readonly<Record<string, string>> = {}
  let dials = 0
  let healthCalls = 0
  let address: Address = "SocketMissing"
  /** Broken dials: completed when the process that a dial waits for dies. */
  let death = Deferred.makeUnsafe<never, LinkError>()

  const record = (what: string, detail?: string, call?: number) => recorder.record("worker", what, detail, call)

  const world: ProcessWorld = {
    now: () => clock.currentTimeMillisUnsafe(),
    fork: (effect) => track(fork(effect)),
    nextCallId: (path) => path === HEALTH_PATH ? ++healthCalls : calls.length - healthCalls + 1,
    record,
    recordCall: (call) => {
      calls.push(call)
    },
    answerFor: (path) => answers.get(path),
    health: () => health,
    threads: options.threads ?? Number.POSITIVE_INFINITY,
    generationSurvivesCancel: options.generationSurvivesCancel ?? false,
    jitter: options.jitter ?? Effect.void
  }

  const announce = (change: "appeared" | "replaced" | "vanished") => {
    if (options.watch !== false) PubSub.publishUnsafe(changes, change)
  }

  /** The process that the address leads to. */
  const present = (): ScriptedProcess | undefined => address instanceof ScriptedProcess ? address : undefined

  const begin = (): ScriptedProcess => {
    const process = new ScriptedProcess(processes.length + 1, world)
    processes.push(process)
    address = process
    return process
  }

  /** The address leads to nobody; whoever waits to be greeted there is let down. */
  const abandon = (left: LinkFault): void => {
    address = left
    const waiting = death
    death = Deferred.makeUnsafe()
    Deferred.doneUnsafe(
      waiting,
      Effect.fail(new LinkError({ fault: "LinkBroken", detail: "closed before it was greeted" }))
    )
  }

  const end = (left: LinkFault): void => {
    const process = present()
    // First of all: what breaks is dialled at once.
    address = left
    process?.kill("the worker closed the connection")
    abandon(left)
  }

  const stop = (process: ScriptedProcess, seconds: number): void => {
    address = "SocketMissing"
    process.sayGoodbye()
    abandon("SocketMissing")
    announce("vanished")
    world.fork(Effect.andThen(Effect.sleep(seconds * 1000), process.dismiss))
  }

  const comeBack = (): void => {
    const before = address
    if (present() !== undefined) end("ConnectionRefused")
    begin()
    announce(before === "SocketMissing" ? "appeared" : "replaced")
  }

  const reload = (action: Extract<Action, { readonly _tag: "Reload" }>): void => {
    const until = world.now() + action.seconds * 1000
    const process = present()
    if (process === undefined) return
    process.reload = { until, eta: action.eta }
    process.loadedLatch.closeUnsafe()
    const over = Effect.sync(() => {
      if (action.gone) return address === "SocketMissing" ? comeBack() : undefined
      if (process.reload?.until !== until) return
      process.reload = undefined
      process.loadedLatch.openUnsafe()
      record("loaded", "", undefined)
    })
    world.fork(Effect.andThen(Effect.sleep(action.seconds * 1000), over))
    if (action.gone) {
      end("SocketMissing")
      announce("vanished")
    }
  }

  const act = (action: Action): void => {
    const process = present()
    switch (action._tag) {
      case "Die":
        return end("ConnectionRefused")
      case "Stop":
        if (process !== undefined) stop(process, action.seconds)
        return
      case "Vanish":
        end("SocketMissing")
        return announce("vanished")
      case "ComeBack":
        return comeBack()
      case "Replace":
        begin()
        return announce("replaced")
      case "GoAway":
        process?.sayGoodbye()
        return
      case "Renew":
        process?.renewEach(action.seconds * 1000)
        return
      case "Hang":
        process?.running.closeUnsafe()
        return
      case "Wake":
        process?.running.openUnsafe()
        return
      case "Saturate":
        process?.idleThreads.closeUnsafe()
        return
      case "Relieve":
        process?.idleThreads.openUnsafe()
        return
      case "Healthy":
        if (process !== undefined) process.healthy = action.value
        return
      case "HealthFails":
        if (process !== undefined) process.healthFails = action.value
        return
      case "Reload":
        return reload(action)
      case "Silent":
        if (action.value) process?.greets.closeUnsafe()
        else process?.greets.openUnsafe()
        return
      case "Slow":
        if (process !== undefined) process.slowMillis = action.millis
        return
      case "BreakAfter":
        if (process !== undefined) process.breakAfter = action.frames
        return
      case "BreakLinks":
        for (const link of Array.from(process?.links ?? [])) link.break("the worker closed the connection")
        return
      case "ResetStreams":
        for (const link of Array.from(process?.links ?? [])) {
          for (const call of Array.from(link.calls)) {
            if (call.seen.path === STREAM_PREDICT) call.breakOff("the stream was reset")
          }
        }
        return
      case "Unreachable":
        return end(action.fault)
    }
  }

  const perform = (action: Action) =>
    Effect.sync(() => {
      recorder.record("timeline", formatAction(action))
      act(action)
    })

  const dial = Effect.suspend(() => {
    dials++
    const process = present()
    if (process !== undefined) {
      return Effect.raceFirst(process.connect, Deferred.await(death)).pipe(
        Effect.tap((link) =>
          Effect.sync(() => record("link open", `process ${process.process}, ${link.calls.size} calls`))
        ),
        Effect.map((link): WorkerLink => link)
      )
    }
    const fault = typeof address === "string" ? address : "ConnectionRefused"
    record("dial failed", fault)
    return Effect.fail(new LinkError({ fault, detail: `dialling the scripted worker: ${fault}` }))
  })

  if (options.running !== false) begin()
  const timeline = typeof options.timeline === "string"
    ? Result.getOrThrow(parse(options.timeline))
    : options.timeline ?? []
  const started = world.now()
  const play = Effect.forEach(inOrder(timeline), (step) =>
    Effect.andThen(
      Effect.suspend(() => Effect.sleep(Math.max(0, started + step.atMillis - world.now()))),
      perform(step.action)
    ), { discard: true })
  if (timeline.length > 0) yield* Effect.forkScoped(play, { startImmediately: true })

  const channel = WorkerChannel.of({
    dial,
    addressChanges: Stream.fromPubSub(changes),
    address: "unix:///scripted/worker.sock"
  })
  const worker = ScriptedWorker.of({
    perform,
    answer: (answer) => Effect.sync(() => void answers.set(STREAM_PREDICT, answer)),
    answerAt: (path, answer) => Effect.sync(() => void answers.set(path, answer)),
    healthMetrics: (metrics) =>
      Effect.sync(() => {
        health = metrics
      }),
    calls: () => calls,
    streams: () => calls.filter((call) => call.path === STREAM_PREDICT),
    dials: () => dials,
    openLinks: () => processes.reduce((count, process) => count + process.links.size, 0)
  })
  return Context.make(WorkerChannel, channel).pipe(Context.add(ScriptedWorker, worker))
})

/**
 * A worker without a process and without a socket: the `WorkerChannel` for the sidecar, the controls for the test and the
 * recorder of both, all on Effect's Clock. With `TestClock` an outage of minutes takes milliseconds.
 */
export const layer = (
  options: Options = {}
): Layer.Layer<WorkerChannel | ScriptedWorker | Recorder.Recorder> =>
  Layer.effectContext(make(options)).pipe(Layer.provideMerge(Recorder.layer))
