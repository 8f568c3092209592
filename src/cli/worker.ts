import { Effect, Layer, Option, Queue, Stream } from "effect"
import { Command, Flag } from "effect/cli"
import { version } from "../internal/version.ts"
import * as Logging from "../layers/Logging.ts"
import type { StandInEvent, StandInOptions } from "../standin/StandInWorker.ts"

const atLeast = (least: number) => (value: number): boolean => value >= least

const flags = {
  socket: Flag.String("socket").pipe(
    Flag.withAlias("s"),
    // As a CY-LLM worker spells it.
    Flag.withAlias("uds-path"),
    Flag.withMetavar("ADDRESS"),
    Flag.withDescription(
      "unix:///path or a path (default: $SIDECAR_WORKER_UDS, else unix:///tmp/cy_worker.sock)"
    ),
    Flag.optional
  ),
  tokensPerSecond: Flag.Finite("tokens-per-second").pipe(
    Flag.withDescription("Speed of one answer; 0: as fast as it is taken"),
    Flag.filter(atLeast(0), () => "Expected 0 or more"),
    Flag.withDefault(40)
  ),
  tokens: Flag.Int("tokens").pipe(
    Flag.withDescription("Length of an answer in tokens (default: a few sentences)"),
    Flag.filter(atLeast(0), () => "Expected 0 or more"),
    Flag.optional
  ),
  loadingNotices: Flag.Int("loading-notices").pipe(
    Flag.withDescription("Begin each answer with so many [模型加载] notices"),
    Flag.filter(atLeast(0), () => "Expected 0 or more"),
    Flag.withDefault(0)
  ),
  reload: Flag.Boolean("reload").pipe(
    Flag.withDescription("Begin in the middle of a reload (SIGUSR1 begins one at any time)"),
    Flag.withDefault(false)
  ),
  reloadSecs: Flag.Finite("reload-secs").pipe(
    Flag.withDescription("How long a reload takes"),
    Flag.filter((seconds) => seconds > 0, () => "Expected a positive number of seconds"),
    Flag.withDefault(10)
  ),
  token: Flag.String("token").pipe(
    Flag.withMetavar("SECRET"),
    Flag.withDescription("Demand authorization: Bearer SECRET on StreamPredict and Control"),
    Flag.optional
  ),
  threads: Flag.Int("threads").pipe(
    Flag.withDescription("Streams and Health share so many threads, as in a CY-LLM worker (it has 10)"),
    Flag.filter(atLeast(1), () => "Expected 1 or more"),
    Flag.optional
  ),
  models: Flag.String("models").pipe(
    Flag.withMetavar("A,B"),
    Flag.withDescription("Know only these models (default: any)"),
    Flag.optional
  ),
  usageTrailers: Flag.Boolean("usage-trailers").pipe(
    Flag.withDescription("End an answer with cy-completion-tokens and cy-prompt-tokens"),
    Flag.withDefault(false)
  )
}

const logEvent = (event: StandInEvent): Effect.Effect<void> => {
  switch (event._tag) {
    case "StreamStarted":
      return Effect.logInfo("stream started").pipe(
        Effect.annotateLogs({ model: event.request.model_id, trace_id: event.request.metadata?.trace_id ?? "" })
      )
    case "StreamEnded":
      return Effect.logInfo("stream ended").pipe(
        Effect.annotateLogs({
          outcome: event.outcome,
          tokens: event.tokens,
          ...(event.detail === "" ? {} : { detail: event.detail })
        })
      )
    case "Reloading":
      return Effect.logInfo("reloading").pipe(Effect.annotateLogs({ eta_seconds: event.seconds }))
    case "Ready":
      return Effect.logInfo("ready")
  }
}

/** One element each time the process gets SIGUSR1 (Node's own listener would open the inspector). */
const reloadSignals = Stream.callback<void>((queue) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const onSignal = () => {
        Queue.offerUnsafe(queue, undefined)
      }
      process.on("SIGUSR1", onSignal)
      return onSignal
    }),
    (onSignal) => Effect.sync(() => process.off("SIGUSR1", onSignal))
  )
)

/** `sidecar worker`: a stand-in worker on a Unix socket, until a signal ends it. */
export const worker = Command.make("worker", flags, (given) =>
  Effect.gen(function*() {
    const [{ StandInWorker }, StandIn] = yield* Effect.promise(() =>
      Promise.all([import("../standin/StandInWorker.ts"), import("../standin/server.ts")])
    )
    const options: StandInOptions = {
      socket: Option.getOrUndefined(given.socket) ?? process.env.SIDECAR_WORKER_UDS,
      tokensPerSecond: given.tokensPerSecond,
      tokens: Option.getOrUndefined(given.tokens),
      loadingNotices: given.loadingNotices,
      bearerToken: Option.getOrUndefined(given.token),
      threads: Option.getOrUndefined(given.threads),
      models: Option.getOrUndefined(given.models)?.split(",").map((name) => name.trim()).filter((name) => name !== ""),
      usageTrailers: given.usageTrailers,
      reloadSeconds: given.reload ? given.reloadSecs : undefined
    }
    const serving = Effect.gen(function*() {
      const worker = yield* StandInWorker
      yield* Effect.forkScoped(Stream.runForEach(worker.events, logEvent), { startImmediately: true })
      yield* Effect.forkScoped(
        Stream.runForEach(reloadSignals, () => worker.reload(given.reloadSecs)),
        { startImmediately: true }
      )
      if (given.reload) yield* logEvent({ _tag: "Reloading", seconds: given.reloadSecs })
      yield* Effect.logInfo("stand-in worker listening").pipe(
        Effect.annotateLogs({ address: worker.address, version, pid: process.pid })
      )
      return yield* Effect.never
    })
    return yield* serving.pipe(
      Effect.scoped,
      Effect.provide(Layer.provideMerge(StandIn.layer(options), Logging.layerWith()))
    )
  })).pipe(
    Command.withDescription("Run a stand-in worker that answers with canned text, for trying things out")
  )
