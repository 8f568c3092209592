import { Clock, Deferred, Effect, Layer, type Scope } from "effect"
import { hostname } from "node:os"
import { extname } from "node:path"
import { Worker } from "node:worker_threads"
import { type JournalBackend, makeGroupCommit } from "../internal/usage/groupCommit.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
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

/** The thread that owns the file: questions out, answers in, and a new thread when one dies. */
const makeThread = Effect.fnUntraced(function*(
  options: Omit<JournalFileOptions, "generation">,
  metrics: UsageMetrics["Service"]
) {
  const clock = yield* Clock.Clock
  /** Questions that have no answer yet, the oldest first. */
  const waiting: Array<Question> = []
  let sidecarId = options.sidecarId
  let generation = 0
  let asked = 0
  let worker: Worker | undefined
  const onItsWay = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  let lost: ((fault: JournalFault | undefined) => void) | undefined

  const take = (id: number): Question | undefined => {
    const at = waiting.findIndex((question) => question.id === id)
    return at < 0 ? undefined : waiting.splice(at, 1)[0]
  }

  /** What a reply means, after its words for the log. */
  const answerOf = ({ notices, op, result }: Reply): Effect.Effect<Answer, JournalFault | JournalError> => {
    const answer = result._tag === "done"
      ? Effect.succeed(result.answer)
      : Effect.fail(
        result._tag === "fault"
          ? new JournalFault({ operation: op, reason: result.reason, detail: result.detail })
          : new JournalError({ path: options.path, reason: result.reason, detail: result.detail })
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

  const stopped = (operation: string, detail: string) =>
    new JournalFault({ operation, reason: "stopped", detail: `the writer of the usage journal stopped: ${detail}` })

  const checkpointLost = (fault: JournalFault | undefined): void => {
    const tell = lost
    lost = undefined
    Atomics.store(onItsWay, 0, 0)
    tell?.(fault)
  }

  /** One life of a thread; completes when it is over, with the reason. */
  const live: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function*() {
    const over = yield* Deferred.make<string>()
    const thread = new Worker(threadUrl, {
      name: "usage-journal",
      workerData: { ...options, generation, onItsWay } satisfies ThreadOptions,
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
    thread.on("error", (error) => Deferred.doneUnsafe(over, Effect.succeed(String(error))))
    thread.on("exit", (code) => Deferred.doneUnsafe(over, Effect.succeed(`exit ${code}`)))
    worker = thread
    const reason = yield* Deferred.await(over)
    worker = undefined
    if (Atomics.load(onItsWay, 0) === 1) checkpointLost(stopped("checkpoint", reason))
    for (const { resume } of waiting.splice(0)) resume(Effect.fail(stopped("answer", reason)))
    return reason
  })

  const ask = (command: Command): Effect.Effect<Answer, JournalFault | JournalError> =>
    Effect.callback<Answer, JournalFault | JournalError>((resume) => {
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

  yield* Effect.addFinalizer(() =>
    ask({ op: "stop" }).pipe(
      Effect.timeoutOption(stopLimit),
      Effect.ignore,
      Effect.andThen(Effect.promise(async () => {
        await worker?.terminate()
      }))
    )
  )
  yield* live.pipe(
    Effect.tap((reason) => Effect.logError(`usage journal: the writer stopped (${reason}), starting another`)),
    Effect.andThen(Effect.sleep(restartDelay)),
    Effect.forever,
    Effect.forkScoped({ startImmediately: true })
  )

  return {
    sidecarId: () => sidecarId,
    generation: () => generation,
    ask,
    checkpoint
  }
})

/**
 * The journal in a SQLite file (`[metering] journal_path`), written by a thread of its own: no disk ever blocks a token.
 *
 * **Details**
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
    const thread = yield* makeThread({
      path: metering.journal_path,
      durability: metering.durability,
      retention: { limit: metering.offline_queue_size, countMerged: yield* isBilled },
      session,
      sidecarId: `${hostname()}-${session.slice(-8)}`
    }, metrics)

    /** Once the sidecar serves, nothing is final: a file that cannot be used now is asked again. */
    const ask = (command: Command): Effect.Effect<Answer, JournalFault> =>
      Effect.catchTag(thread.ask(command), "JournalError", (error) =>
        Effect.fail(
          new JournalFault({
            operation: command.op,
            reason: error.reason === "locked" ? "locked" : "io",
            detail: error.message
          })
        ))

    const fault = yield* thread.ask({ op: "begin" }).pipe(
      Effect.as(undefined),
      Effect.timeoutOrElse({
        duration: beginLimit,
        orElse: () =>
          Effect.fail(
            new JournalFault({ operation: "begin", reason: "stalled", detail: "the disk does not answer" })
          )
      }),
      Effect.catchTag("JournalFault", Effect.succeed)
    )

    const backend: JournalBackend = {
      sidecarId: thread.sidecarId,
      generation: thread.generation,
      paceMillis,
      commit: (group) => ask({ op: "commit", group: { ...group, closed: spell(group.closed) } }),
      checkpoint: thread.checkpoint,
      nextBatch: (limit, except) => Effect.map(ask({ op: "nextBatch", limit, except }), ({ batch }) => batch),
      settle: (batchId, settlement) => Effect.asVoid(ask({ op: "settle", batchId, settlement })),
      setAside: Effect.map(ask({ op: "setAside" }), ({ setAside }) => setAside ?? []),
      retrySetAside: (recordIds) => Effect.map(ask({ op: "retrySetAside", recordIds }), ({ moved }) => moved ?? 0),
      balance: Effect.map(ask({ op: "balance" }), ({ balance }) => balance)
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
