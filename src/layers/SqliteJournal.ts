import { Clock, Deferred, Effect, Latch, Layer } from "effect"
import { hostname } from "node:os"
import { extname } from "node:path"
import { Worker } from "node:worker_threads"
import { type JournalBackend, makeGroupCommit } from "../internal/usage/groupCommit.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import { answersWithin, beginHere, type RestingJournal } from "../internal/usage/restingJournal.ts"
import { spell } from "../internal/usage/spelling.ts"
import type {
  Answer,
  Checkpoint,
  CheckpointNews,
  Command,
  JournalFileOptions,
  Reply,
  Request,
  ThreadOptions
} from "../internal/usage/threadProtocol.ts"
import { isBilled } from "../services/BillingSink.ts"
import { SidecarConfig } from "../services/SidecarConfig.ts"
import { eventTeller } from "../services/SidecarEvents.ts"
import { JournalError, JournalFault, UsageJournal } from "../services/UsageJournal.ts"
import { UsageMetrics } from "../services/UsageMetrics.ts"

/** Beside this file; `.ts` in a checkout, `.js` in a build. */
const threadUrl = new URL(`./SqliteJournalThread${extname(import.meta.url)}`, import.meta.url)

/** A writer that died is started again after this. */
const restartDelay = "200 millis"
/** A start that takes longer goes on without the file. */
const beginLimit = "5 seconds"
/** The thread gets this long to close the file when the sidecar stops. */
const stopLimit = "2 seconds"
/** Commits are at least this far apart: one costs as much as ten records in it, and a switch between threads. */
const paceMillis = 10

/** Something that the thread was asked. */
interface Question {
  readonly id: number
  readonly resume: (answer: Effect.Effect<Answer, JournalFault | JournalError>) => void
}

/** What a reply means, after its words for the log. */
const makeAnswerOf =
  (path: string, metrics: UsageMetrics["Service"]) =>
  ({ notices, op, result }: Reply): Effect.Effect<Answer, JournalFault | JournalError> => {
    const answer = result._tag === "done"
      ? Effect.succeed(result.answer)
      : Effect.fail(
        result._tag === "fault"
          ? new JournalFault({ operation: op, reason: result.reason, detail: result.detail })
          : new JournalError({ path, reason: result.reason, detail: result.detail })
      )
    if (notices.length === 0) return answer
    for (const { fault } of notices) if (fault !== undefined) metrics.journalError(fault)
    return Effect.andThen(
      Effect.forEach(
        notices,
        ({ level, text }) => level === "error" ? Effect.logError(text) : Effect.logInfo(text),
        { discard: true }
      ),
      answer
    )
  }

/** What a stop waits for. */
const lastly = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<void> =>
  effect.pipe(Effect.interruptible, Effect.timeoutOption(stopLimit), Effect.ignore)

/** No thread until something is asked of it, one that runs or is started again, none any more. */
type Phase = "resting" | "running" | "over"

/** The thread that owns the file: questions out, answers in, and a new thread when one dies. */
const makeThread = Effect.fnUntraced(function*(
  options: JournalFileOptions,
  rest: RestingJournal | undefined,
  answerOf: (reply: Reply) => Effect.Effect<Answer, JournalFault | JournalError>
) {
  const clock = yield* Clock.Clock
  /** Questions that have no answer yet, the oldest first. */
  const waiting: Array<Question> = []
  let { generation, sidecarId } = options
  let phase: Phase = "resting"
  const isAwake = Latch.makeUnsafe(false)
  let asked = 0
  let worker: Worker | undefined
  /** Why the thread ended that was started last. */
  let end = Deferred.makeUnsafe<string>()
  const onItsWay = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  let lost: ((fault: JournalFault | undefined) => void) | undefined

  const take = (id: number): Question | undefined => {
    const at = waiting.findIndex((question) => question.id === id)
    return at < 0 ? undefined : waiting.splice(at, 1)[0]
  }

  const stopped = (operation: string, detail: string) =>
    new JournalFault({ operation, reason: "stopped", detail: `the writer of the usage journal stopped: ${detail}` })

  const checkpointLost = (fault: JournalFault | undefined): void => {
    const tell = lost
    lost = undefined
    Atomics.store(onItsWay, 0, 0)
    tell?.(fault)
  }

  /** Starts a thread; {@link live} sees to its end. */
  const start = (): void => {
    const over = end = Deferred.makeUnsafe<string>()
    const tellEnd = (reason: string): void => void Deferred.doneUnsafe(over, Effect.succeed(reason))
    try {
      const thread = new Worker(threadUrl, {
        name: "usage-journal",
        workerData: { ...options, sidecarId, generation, resting: rest?.file, onItsWay } satisfies ThreadOptions,
        // Node 22 calls its SQLite experimental, on stderr.
        execArgv: ["--disable-warning=ExperimentalWarning"]
      })
      thread.on("message", (reply: Reply | CheckpointNews) => {
        sidecarId = reply.sidecarId
        generation = reply.generation
        if ("fault" in reply) {
          const { fault } = reply
          return checkpointLost(
            fault && new JournalFault({ operation: "checkpoint", reason: fault.reason, detail: fault.detail })
          )
        }
        take(reply.id)?.resume(answerOf(reply))
      })
      thread.on("error", (error) => tellEnd(String(error)))
      thread.on("exit", (code) => tellEnd(`exit ${code}`))
      worker = thread
    } catch (error) {
      // The system has no thread for us now.
      tellEnd(String(error))
    }
  }

  /** Something is to be written: the first thread is started. */
  const prepare = (): void => {
    if (phase !== "resting") return
    phase = "running"
    start()
    isAwake.openUnsafe()
  }

  /** One life of a thread; completes when it is over, with the reason. */
  const live: Effect.Effect<string> = Effect.suspend(() => Deferred.await(end)).pipe(
    Effect.tap((reason) =>
      Effect.sync(() => {
        worker = undefined
        if (Atomics.load(onItsWay, 0) === 1) checkpointLost(stopped("checkpoint", reason))
        for (const { resume } of waiting.splice(0)) resume(Effect.fail(stopped("answer", reason)))
      })
    )
  )

  const ask = (command: Command): Effect.Effect<Answer, JournalFault | JournalError> =>
    Effect.callback<Answer, JournalFault | JournalError>((resume) => {
      prepare()
      const thread = worker
      if (thread === undefined) return resume(Effect.fail(stopped(command.op, "it is being started again")))
      const id = ++asked
      const request: Request = { id, now: clock.currentTimeMillisUnsafe(), command }
      waiting.push({ id, resume })
      thread.postMessage(request, [])
      return Effect.sync(() => void take(id))
    })

  /** One at a time: with a disk that hangs, the next one is a commit's, whose delay is noticed. */
  const checkpoint: JournalBackend["checkpoint"] = (counts, onLost) => {
    if (worker === undefined || Atomics.load(onItsWay, 0) === 1) return false
    Atomics.store(onItsWay, 0, 1)
    lost = onLost
    const request: Checkpoint = { now: clock.currentTimeMillisUnsafe(), counts }
    worker.postMessage(request, [])
    return true
  }

  const askBalance = Effect.map(ask({ op: "balance" }), ({ balance }) => balance)
  /** While the file rests, as it was left; a thread is started when somebody moved it, or wrote in it. */
  const balance = Effect.suspend(() =>
    phase !== "resting" || rest === undefined
      ? askBalance
      : Effect.flatMap(rest.balance, (left) =>
        left === undefined || phase !== "resting" ? askBalance : Effect.succeed(left))
  )

  yield* Effect.addFinalizer(() =>
    Effect.gen(function*() {
      // What was moved or deleted while it rested must be saved. Nothing else is worth a thread now.
      if (phase === "resting" && rest !== undefined) yield* lastly(balance)
      if (phase === "running") yield* lastly(ask({ op: "stop" }))
      phase = "over"
      yield* Effect.promise(async () => {
        await worker?.terminate()
      })
      worker = undefined
    })
  )
  yield* isAwake.await.pipe(
    Effect.andThen(
      live.pipe(
        Effect.tap((reason) => Effect.logError(`usage journal: the writer stopped (${reason}), starting another`)),
        Effect.andThen(Effect.sleep(restartDelay)),
        Effect.andThen(Effect.sync(start)),
        Effect.forever
      )
    ),
    Effect.forkScoped({ startImmediately: true })
  )

  return {
    sidecarId: () => sidecarId,
    generation: () => generation,
    prepare,
    ask,
    balance,
    checkpoint
  }
})

/**
 * The journal in a SQLite file (`[metering] journal_path`), written by a thread of its own: no disk ever blocks a token.
 *
 * **Details**
 *
 * The thread starts when something is to be written, at the latest with the first stream. Until then the journal rests: begun in
 * this thread, closed, its lock held.
 *
 * One writer per file. A folder that cannot be written or a full disk is no reason not to serve: the sidecar starts,
 * counts in memory, says so and tries again. A path that can never work, and a second sidecar on the same file, are
 * {@link JournalError}s. The `sidecar_id` of records is made from the host's name when the file is, and stays with the
 * file.
 */
export const layer: Layer.Layer<UsageJournal, JournalError, SidecarConfig | UsageMetrics> = Layer.effect(
  UsageJournal,
  Effect.gen(function*() {
    const { metering } = yield* SidecarConfig
    const metrics = yield* UsageMetrics
    const clock = yield* Clock.Clock
    const recordId = makeRecordIds(Math.random)
    const session = recordId(clock.currentTimeMillisUnsafe())
    const path = metering.journal_path
    const options: JournalFileOptions = {
      path,
      durability: metering.durability,
      retention: { limit: metering.offline_queue_size, countMerged: yield* isBilled },
      session,
      sidecarId: `${hostname()}-${session.slice(-8)}`,
      generation: 0
    }
    const answerOf = makeAnswerOf(path, metrics)
    const begun = (yield* answersWithin(path, beginLimit))
      ? yield* beginHere(options, recordId, clock.currentTimeMillisUnsafe())
      : undefined
    const fault = begun === undefined
      ? new JournalFault({ operation: "begin", reason: "stalled", detail: "the disk does not answer" })
      : yield* answerOf(begun.reply).pipe(Effect.as(undefined), Effect.catchTag("JournalFault", Effect.succeed))
    const { generation, sidecarId } = begun?.reply ?? options
    const thread = yield* makeThread({ ...options, sidecarId, generation }, begun?.rest, answerOf)

    /** Once the sidecar serves, nothing is final: a file that cannot be used now is asked again. */
    const unlessUnusable = <A>(operation: Command["op"], asked: Effect.Effect<A, JournalFault | JournalError>) =>
      Effect.catchTag(asked, "JournalError", (error) =>
        Effect.fail(
          new JournalFault({ operation, reason: error.reason === "locked" ? "locked" : "io", detail: error.message })
        ))
    const ask = (command: Command): Effect.Effect<Answer, JournalFault> =>
      unlessUnusable(command.op, thread.ask(command))

    const backend: JournalBackend = {
      sidecarId: thread.sidecarId,
      generation: thread.generation,
      paceMillis,
      prepare: thread.prepare,
      commit: (group) => ask({ op: "commit", group: { ...group, closed: spell(group.closed) } }),
      checkpoint: thread.checkpoint,
      nextBatch: (limit, except) => Effect.map(ask({ op: "nextBatch", limit, except }), ({ batch }) => batch),
      settle: (batchId, settlement) => Effect.asVoid(ask({ op: "settle", batchId, settlement })),
      setAside: Effect.map(ask({ op: "setAside" }), ({ setAside }) => setAside ?? []),
      retrySetAside: (recordIds) => Effect.map(ask({ op: "retrySetAside", recordIds }), ({ moved }) => moved ?? 0),
      balance: unlessUnusable("balance", thread.balance)
    }
    return UsageJournal.of(
      yield* makeGroupCommit(backend, {
        session,
        limit: metering.offline_queue_size,
        recordId,
        metrics,
        fault,
        tell: yield* eventTeller
      })
    )
  })
)
