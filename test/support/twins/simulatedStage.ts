import { Effect, Queue, type Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Wire } from "../../../src/index.ts"
import { Metrics, Status, WorkerConnection } from "../../../src/index.ts"
import type { Answer } from "../../../src/testing.ts"
import { Messages, Recorder, ScriptedGateway, ScriptedWorker, type Simulation, Timeline } from "../../../src/testing.ts"
import { inWords, type Seen, StatusHistory } from "./account.ts"
import type { Account, AtWorker, Stage, Visit } from "./stage.ts"

const HEALTH = "/cy.llm.AiInference/Health"
/** How far the clock goes between two looks at what a story waits for. */
const STEP_MILLIS = 10
/** A wait that takes longer than this virtual time is in vain. */
const LIMIT_MILLIS = 20_000

type Command = { readonly frames: Wire.FrameBatch } | { readonly end: true } | { readonly reset: true }

const { Action } = Timeline

const settle: Effect.Effect<void> = Effect.repeat(Effect.yieldNow, { times: 100 })

const seenOf = (call: ScriptedGateway.GatewayCall): Seen => {
  const { headers, left, replies, status } = call.seen
  const trailer = (key: string): string | undefined => {
    const value = status?.metadata[key]
    return typeof value === "object" ? value[0] : value
  }
  return {
    replies,
    left: left !== undefined,
    status: status === undefined
      ? undefined
      : { code: status.code, message: status.message, trailer, trailersOnly: headers === undefined }
  }
}

/** The sidecar's real core over a scripted worker, with scripted gateways, on virtual time. */
export const simulatedStage: Effect.Effect<
  { readonly stage: Stage; readonly account: (figures: ReadonlyArray<string>) => Promise<Account> },
  never,
  Simulation.World | Scope.Scope
> = Effect.gen(function*() {
  const run = Effect.runPromiseWith(yield* Effect.context<Simulation.World | Scope.Scope>())
  const worker = yield* ScriptedWorker.ScriptedWorker
  const connection = yield* WorkerConnection
  const metrics = yield* Metrics
  const recorder = yield* Recorder.Recorder
  const arrivals: Array<string> = []
  /** Calls at the worker that the story has not asked for yet. */
  const untaken: Array<{ readonly name: string; readonly at: AtWorker }> = []
  const visits: Array<Promise<ScriptedGateway.GatewayCall>> = []
  const history = new StatusHistory()
  let newest = 1
  let lives = true

  const hear = (): void => {
    const state = connection.current()
    if (state._tag !== "Connecting") history.push(state._tag, state._tag === "Disconnected" ? state.reason : "")
  }
  hear()
  yield* Effect.acquireRelease(
    Effect.sync(() => connection.onChange(hear)),
    (unsubscribe) => Effect.sync(unsubscribe)
  )

  const perform = (...actions: ReadonlyArray<Timeline.Action>): Promise<void> =>
    run(Effect.andThen(Effect.forEach(actions, worker.perform, { discard: true }), settle))

  /** Virtual time goes on until it is so. */
  const until = (what: string, holds: Effect.Effect<boolean>): Promise<void> =>
    run(Effect.gen(function*() {
      for (let passed = 0; !(yield* Effect.andThen(settle, holds)); passed += STEP_MILLIS) {
        if (passed > LIMIT_MILLIS) return yield* Effect.die(new Error(`never came: ${what}\n${recorder.format()}`))
        yield* TestClock.adjust(STEP_MILLIS)
      }
    }))

  const side = (request: Uint8Array, queue: Queue.Queue<Command>): AtWorker => {
    let index = 0
    let tokens = 0
    const tell = (command: Command) => void Queue.offerUnsafe(queue, command)
    const send = (chunk: string, end = false) =>
      tell({ frames: Messages.framed(Messages.encodeReply({ chunk, endOfStream: end, index: index++ })) })
    return {
      request,
      notice: (text) => send(text),
      tokens: (count) => {
        for (let left = count; left > 0; left--) send(`t${tokens++} `)
      },
      finish: () => {
        send("", true)
        tell({ end: true })
      },
      reset: () => tell({ reset: true })
    }
  }

  /** Does what the story says. */
  const obedient: Answer.Answer = Effect.fnUntraced(function*(at) {
    const name = String(at.call.metadata["x-name"] ?? "")
    arrivals.push(`${at.call.process} ${name}`)
    const request = yield* at.request
    const queue = yield* Queue.unbounded<Command>()
    untaken.push({ name, at: side(request ?? new Uint8Array(), queue) })
    while (true) {
      const command = yield* Queue.take(queue)
      if ("frames" in command) yield* at.send(command.frames)
      else if ("end" in command) return Status.ok
      // It breaks the stream that this answer belongs to: from outside, in a turn of its own.
      else void run(worker.perform(Action.ResetStreams()))
    }
  })
  yield* worker.answer(obedient)

  const visit = (name: string, opened: Promise<ScriptedGateway.GatewayCall>): Visit => {
    visits.push(opened)
    const seen = async (what: string, holds: (call: ScriptedGateway.GatewayCall) => boolean) => {
      const call = await opened
      await until(`${what} of ${name}`, Effect.sync(() => holds(call)))
      return call
    }
    return {
      name,
      received: async (messages) => {
        await seen(`${messages} messages`, (call) => call.seen.messages.length >= messages)
      },
      ended: async () => {
        const call = await seen("the end", (one) => one.seen.endedAt !== undefined)
        const pushback = call.seen.status?.metadata["grpc-retry-pushback-ms"]
        return pushback === undefined ? undefined : Number(pushback)
      },
      cancel: () => void opened.then((call) => run(call.cancel))
    }
  }

  const figureIs = (name: string, holds: (value: number) => boolean) =>
    Effect.map(metrics.figures, (figures) => holds(figures[name] ?? Number.NaN))

  const stage: Stage = {
    gateway: (name, ask = {}) =>
      visit(
        name,
        run(ScriptedGateway.open({
          metadata: { "x-name": name },
          request: { modelId: "qwen-7b", prompt: name, priority: ask.priority },
          timeoutMillis: ask.deadlineMillis
        }))
      ),
    atWorker: async (name) => {
      const place = () => untaken.findIndex((one) => one.name === name)
      await until(`${name} at the worker`, Effect.sync(() => place() >= 0))
      const [found] = untaken.splice(place(), 1)
      if (found === undefined) throw new Error("it was there")
      return found.at
    },
    worker: {
      kill: () => {
        lives = false
        return perform(Action.Die())
      },
      start: async () => {
        newest++
        await run(worker.healthMetrics({}))
        await perform(lives ? Action.Replace() : Action.ComeBack())
        lives = true
      },
      stop: () => perform(Action.Hang()),
      wake: () => perform(Action.Wake()),
      reloads: () => run(worker.healthMetrics({ status: "reloading", eta_seconds: "600" })),
      isWell: () => run(worker.healthMetrics({})),
      goAway: () => perform(Action.GoAway()),
      asked: (times) =>
        until(
          `${times} probes`,
          Effect.sync(() =>
            worker.calls().filter((call) => call.path === HEALTH && call.process === newest).length >= times
          )
        ),
      connections: (count) => until(`${count} connections`, Effect.sync(() => worker.dials() >= count))
    },
    status: (word) => until(`status ${word} (${history.words.join(", ")})`, Effect.sync(() => history.is(word))),
    figure: (name, least) => until(`${name} ≥ ${least}`, figureIs(name, (value) => value >= least)),
    gauge: (name, wanted) => until(`${name} = ${wanted}`, figureIs(name, (value) => value === wanted)),
    pass: (millis) => run(TestClock.adjust(millis))
  }

  return {
    stage,
    account: async (names) => {
      const calls = await Promise.all(visits)
      for (const call of calls) {
        await until(
          "the end of a call",
          Effect.sync(() => call.seen.endedAt !== undefined || call.seen.left !== undefined)
        )
      }
      await stage.gauge("sidecar_active_connections", 0)
      const figures = await run(metrics.figures)
      return {
        gateways: calls.map((call) => inWords(seenOf(call))),
        workers: arrivals,
        status: history.words,
        figures: Object.fromEntries(names.map((name) => [name, figures[name] ?? Number.NaN]))
      }
    }
  }
})
