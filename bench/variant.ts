/**
 * The sidecar as the daemon runs it but for one part, to see what that part costs.
 *
 * `node variant.ts whole|memory|unmetered|uncounted`
 *
 * - `whole`: nothing is missing; from the same modules as the others, and not the bundle;
 * - `memory`: the journal in memory: no thread, no file;
 * - `unmetered`: a meter that does nothing: streams are counted, and nobody is told;
 * - `uncounted`: that, and no look at the tokens either, nor what the metrics make of them.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import { Effect, Layer } from "effect"
import { registerHooks } from "node:module"

const [variant] = process.argv.slice(2)

const uncounted = `export class ReplyCount {
  #tally
  constructor(tally) { this.#tally = tally }
  add() { this.#tally.frames++; return false }
  takeTrailers() {}
}`
if (variant === "uncounted") {
  registerHooks({
    load: (url, context, next) =>
      url.endsWith("/internal/stream/replyCount.js")
        ? { format: "module", source: uncounted, shortCircuit: true }
        : next(url, context)
  })
}
const S = await import("../src/index.ts")

/** A tally for the stream to write to, and no more. */
const deafMeter = Layer.succeed(S.UsageMeter, {
  open: () => ({
    ...S.noReplies(),
    recordId: "",
    startedAt: 0,
    identity: undefined,
    workerTokens: undefined,
    promptTokens: undefined,
    doubtedTokens: undefined,
    doubtedPrompt: undefined,
    replays: 0,
    heldMillis: 0,
    ttftMillis: undefined
  }),
  close: () => Effect.void
})

const meter = variant === "memory" || variant === "whole" ? S.JournalMeter.layer : deafMeter
const journal = variant === "whole" ? S.SqliteJournal.layer : S.MemoryJournal.layer

/** As `layers/Sidecar.ts` composes it. */
const sidecar = S.Drain.layer.pipe(
  Layer.provideMerge(S.Http2Server.layer),
  Layer.provide(S.Routes.layer),
  Layer.provideMerge(S.OpsHttpServer.layer),
  Layer.provideMerge(S.ReplayingProxy.layer),
  Layer.provideMerge(S.SupervisedConnection.layer),
  Layer.provideMerge(meter),
  Layer.provideMerge(journal),
  Layer.provideMerge(S.ReportFanout.layer),
  Layer.provideMerge(S.PromMetrics.layer),
  Layer.provide(S.Tracing.layer),
  Layer.provide(S.Http2WorkerChannel.layer),
  Layer.provide(S.Logging.layer),
  Layer.provide(S.TomlConfig.layer)
)
NodeRuntime.runMain(Layer.launch(sidecar))
