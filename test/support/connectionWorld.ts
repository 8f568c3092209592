import { Context, Effect, Layer, Logger } from "effect"
import * as SupervisedConnection from "../../src/layers/SupervisedConnection.ts"
import { type CallEnd, noMetadata } from "../../src/services/Wire.ts"
import { LinkError, WorkerChannel, type WorkerLink } from "../../src/services/WorkerChannel.ts"
import { WorkerConnection, type WorkerState } from "../../src/services/WorkerConnection.ts"
import { WorkerMetrics } from "../../src/services/WorkerMetrics.ts"
import { Answer, Messages, ScriptedWorker, TestConfig, type Timeline } from "../../src/testing.ts"
import { listenTo } from "./listening.ts"

/** What the connection told the metrics and the log. */
export class Told extends Context.Service<Told, {
  readonly states: Array<string>
  readonly faults: Array<string>
  readonly log: Array<string>
  reconnects: number
  saturated: number
}>()("test/Told") {}

const told = Layer.sync(Told, () => ({ states: [], faults: [], log: [], reconnects: 0, saturated: 0 }))

/** A status in words: `Connected saturated`, `Connected renewing`, `Reloading restarting`, or the tag alone. */
export const wordsOf = (state: WorkerState): string => {
  switch (state._tag) {
    case "Connected":
      return state.renewing === true
        ? "Connected renewing"
        : state.saturatedSince === undefined
        ? "Connected"
        : "Connected saturated"
    case "Reloading":
      return state.restarting === true ? "Reloading restarting" : "Reloading"
    default:
      return state._tag
  }
}

/** Figures that remember what the connection told them. */
const metrics = Layer.effect(
  WorkerMetrics,
  Effect.map(Told, (told) => ({
    workerState: (state: WorkerState) => void told.states.push(wordsOf(state)),
    workerConnectionError: (fault: string) => void told.faults.push(fault),
    workerReconnected: () => void told.reconnects++,
    workerSaturated: () => void told.saturated++,
    workerHealth: () => {}
  }))
)

const logging = Layer.unwrap(Effect.map(Told, (told) =>
  Logger.layer([Logger.make((entry) => {
    told.log.push(`${entry.logLevel} ${Array.isArray(entry.message) ? entry.message.join(" ") : String(entry.message)}`)
  })])))

/** A wire on which the next dials fail as if the worker had bound its socket and did not listen yet. */
export class Refusals {
  left = 0
  readonly channel = Layer.effect(
    WorkerChannel,
    Effect.map(WorkerChannel, (channel) => ({
      ...channel,
      dial: Effect.suspend(() => {
        if (this.left === 0) return channel.dial
        this.left--
        return Effect.fail(new LinkError({ fault: "ConnectionRefused", detail: "nobody listens yet" }))
      })
    }))
  )
}

/** The connection over a scripted worker, with everything it told. */
export const world = (
  options: ScriptedWorker.Options = {},
  overrides: TestConfig.Overrides = {},
  refusals: Refusals = new Refusals()
) =>
  SupervisedConnection.layer.pipe(
    Layer.provide(refusals.channel),
    Layer.provideMerge(ScriptedWorker.layer(options)),
    Layer.provideMerge(Layer.mergeAll(metrics, logging, TestConfig.layer(overrides))),
    Layer.provideMerge(told)
  )

/** Lets every fiber that can run come to rest, without moving the clock. */
export const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 100 })

export const perform = (action: Timeline.Action) =>
  Effect.andThen(ScriptedWorker.ScriptedWorker.use((worker) => worker.perform(action)), settle)

export const tag: Effect.Effect<string, never, WorkerConnection> = WorkerConnection.useSync((one) => one.current()._tag)

/** The status in words. */
export const status: Effect.Effect<string, never, WorkerConnection> = WorkerConnection.useSync((one) =>
  wordsOf(one.current())
)

/** `Disconnected`'s reason, or the tag of another state. */
export const reason: Effect.Effect<string, never, WorkerConnection> = WorkerConnection.useSync((one) => {
  const state = one.current()
  return state._tag === "Disconnected" ? state.reason : state._tag
})

/** The link for new streams; a defect when there is none. */
export const theLink: Effect.Effect<WorkerLink, never, WorkerConnection> = Effect.flatMap(
  WorkerConnection,
  (connection) => {
    const link = connection.link()
    return link === undefined ? Effect.die("no link") : Effect.succeed(link)
  }
)

/** A StreamPredict call without a proxy: what came, and how it ended. */
export interface RawCall {
  frames: number
  end: CallEnd | undefined
}

export const openCall = (link: WorkerLink): RawCall => {
  const seen: RawCall = { frames: 0, end: undefined }
  const call = listenTo(link, { path: ScriptedWorker.STREAM_PREDICT, metadata: noMetadata, timeoutMillis: undefined }, {
    onHeaders: () => {},
    onFrames: (batch) => {
      seen.frames += Messages.unframed(batch).length
      return true
    },
    onDrain: () => {},
    onEnd: (end) => {
      seen.end = end
    }
  })
  call.write(Messages.framed(Messages.encodeRequest({ modelId: "m", prompt: "p" })))
  call.halfClose()
  return seen
}

/** Answers for `seconds` with a frame each `everyMillis`. */
export const streaming = (seconds: number, everyMillis: number) =>
  Answer.tokens({ tokens: Math.floor((seconds * 1000) / everyMillis), every: everyMillis })
