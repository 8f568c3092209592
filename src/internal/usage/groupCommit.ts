import { Clock, Effect, Latch, type Scope } from "effect"
import { SidecarEvent } from "../../services/SidecarEvents.ts"
import {
  type JournalCondition,
  JournalFault,
  type JournalRecord,
  type SetAsideRecord,
  type Settlement,
  type Sum,
  type UsageBalance,
  type UsageBatch,
  type UsageJournal
} from "../../services/UsageJournal.ts"
import type { UsageMetrics } from "../../services/UsageMetrics.ts"
import { monotonicMillis } from "../monotonic.ts"
import type { PackedCounts } from "./counts.ts"
import type { UsageGroup } from "./store.ts"
import { makeUncommitted } from "./uncommitted.ts"

/** PORT: where a ledger runs (in this process, or in a thread beside a disk). Any member may be asked again. */
export interface JournalBackend {
  readonly sidecarId: () => string
  readonly generation: () => number
  /**
   * So long after the begin of a commit the next one begins, with what has gathered: a lone end waits for nobody, and
   * many share one. 0 when a commit costs nothing. Milliseconds.
   */
  readonly paceMillis: number
  /** Committed once, however often the same group is handed in. */
  readonly commit: (group: UsageGroup) => Effect.Effect<unknown, JournalFault>
  /**
   * Writes counters that have no company in a group, for less than a commit: nobody is told when it is done. `false`:
   * not now. `lost`: hand them in by a commit; called when they were not written, with the fault if there was one, or when
   * there is more to tell than that. Before what was handed in later has an answer.
   */
  readonly checkpoint: (counts: PackedCounts, lost: (fault: JournalFault | undefined) => void) => boolean
  readonly nextBatch: (
    limit: number,
    except?: string | undefined
  ) => Effect.Effect<UsageBatch | undefined, JournalFault>
  readonly settle: (batchId: string, settlement: Settlement) => Effect.Effect<void, JournalFault>
  readonly setAside: Effect.Effect<ReadonlyArray<SetAsideRecord>, JournalFault>
  readonly retrySetAside: (recordIds?: ReadonlyArray<string> | undefined) => Effect.Effect<number, JournalFault>
  readonly balance: Effect.Effect<UsageBalance | undefined, JournalFault>
}

/** A commit that takes longer than this holds no stream's end back. Milliseconds. */
const stallMillis = 1000
/** So many ends wait no longer for more: enough share the commit then. */
const crowd = 32
/** A row that nobody waits for may wait this long for company. Milliseconds. */
const lazyMillis = 10
/** Tries on a journal that fails: 100 ms, doubling, at most a second apart. */
const retryMillis = (attempt: number): number => Math.min(100 * 2 ** attempt, 1000)
/** What has not been committed when the sidecar stops gets this long. */
const lastCommit = "3 seconds"

const ok: JournalCondition = { _tag: "ok" }

const empty: UsageBalance = {
  delivered: { records: 0, tokens: 0 },
  acknowledged: { records: 0, tokens: 0 },
  waiting: { records: 0, tokens: 0 },
  setAside: { records: 0, tokens: 0 },
  mergedStreams: 0,
  unsaved: { records: 0, tokens: 0 },
  oldestWaitingAt: undefined
}

interface Failure {
  readonly fault: JournalFault
  /** Wall clock, milliseconds since the epoch. */
  readonly since: number
}

interface Waiter {
  readonly end: number
  readonly resume: (effect: Effect.Effect<void>) => void
}

/**
 * The journal over a backend: groups what comes in, lets the ends of streams wait for their commit, and keeps counting
 * in memory while the backend fails. One commit at a time, one owner of order.
 */
export const makeGroupCommit = Effect.fnUntraced(function*(backend: JournalBackend, options: {
  readonly session: string
  readonly limit: number
  readonly recordId: (millis: number) => string
  readonly metrics: UsageMetrics["Service"]
  /** The journal could not be opened at the start. */
  readonly fault?: JournalFault | undefined
  /** Hears when usage cannot be written or read, and when it can be again. Default: nobody. */
  readonly tell?: ((event: SidecarEvent) => void) | undefined
}): Effect.fn.Return<UsageJournal["Service"], never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  const monotonic = monotonicMillis(clock)
  const uncommitted = makeUncommitted({ ...options, rowAfterMillis: backend.paceMillis === 0 ? 0 : lazyMillis })
  const dirty = Latch.makeUnsafe(false)
  const urgent = Latch.makeUnsafe(false)
  const crowded = Latch.makeUnsafe(false)
  const busy = Latch.makeUnsafe(false)
  const waiters: Array<Waiter> = []
  let failure: Failure | undefined
  /** Questions that are asked again and again, and have no answer now. */
  const unanswered = new Map<string, Failure>()
  let commitStarted: number | undefined
  let lastCommitAt = -Infinity
  let lastBalance = empty

  const release = (upTo: number): void => {
    let count = 0
    for (const waiter of waiters) {
      if (waiter.end > upTo) break
      count++
    }
    for (const waiter of waiters.splice(0, count)) waiter.resume(Effect.void)
  }

  const troubled = (fault: JournalFault, detail: string): Effect.Effect<void> => {
    options.tell?.(SidecarEvent.JournalChanged({ status: "failing", reason: fault.reason, detail }))
    return Effect.logError(detail).pipe(Effect.annotateLogs({ operation: fault.operation, reason: fault.reason }))
  }

  const recovered = (detail: string): Effect.Effect<void> => {
    options.tell?.(SidecarEvent.JournalChanged({ status: "ok", reason: undefined, detail }))
    return Effect.logInfo(detail)
  }

  const failed = (fault: JournalFault): Effect.Effect<void> => {
    const first = failure === undefined
    const changed = failure?.fault.reason !== fault.reason
    failure = { fault, since: failure?.since ?? now() }
    options.metrics.journalError(fault.reason)
    release(Infinity)
    return first || changed
      ? troubled(fault, `usage journal: ${fault.detail}; streams go on, their usage waits in memory`)
      : Effect.void
  }

  const healed: Effect.Effect<void> = Effect.suspend(() => {
    if (failure === undefined) return Effect.void
    failure = undefined
    // What cannot be read all the same is noticed at the next question.
    unanswered.clear()
    return recovered("usage journal: written again, nothing was lost")
  })

  /** A fault in reading is one of the journal: told once, shown in its condition until there is an answer. */
  const answered = <A>(name: string, question: Effect.Effect<A, JournalFault>): Effect.Effect<A, JournalFault> =>
    question.pipe(
      Effect.tap(() =>
        Effect.suspend(() =>
          unanswered.delete(name) && unanswered.size === 0 && failure === undefined
            ? recovered("usage journal: read again, nothing was lost")
            : Effect.void
        )
      ),
      Effect.tapError((fault) =>
        Effect.suspend(() => {
          options.metrics.journalError(fault.reason)
          if (failure !== undefined) return Effect.void
          const told = Array.from(unanswered.values(), (one) => one.fault.detail)
          unanswered.set(name, { fault, since: unanswered.get(name)?.since ?? now() })
          return told.includes(fault.detail)
            ? Effect.void
            : troubled(
              fault,
              `usage journal: ${fault.detail}; streams are counted and kept, their usage is not reported until it can be read`
            )
        })
      )
    )

  /** One group; answers whether it is in the journal. */
  const commit = (group: UsageGroup): Effect.Effect<boolean> =>
    Effect.suspend(() => {
      lastCommitAt = commitStarted = monotonic()
      busy.openUnsafe()
      return backend.commit(group)
    }).pipe(
      Effect.matchEffect({
        onFailure: (fault) => Effect.as(failed(fault), false),
        onSuccess: () => {
          uncommitted.commit()
          release(uncommitted.committed())
          return Effect.as(healed, true)
        }
      }),
      Effect.ensuring(Effect.sync(() => {
        commitStarted = undefined
        busy.closeUnsafe()
      }))
    )

  /**
   * Waits for the latch, so many milliseconds at most. An opened latch runs its waiter at once, inside the caller: it is a
   * stream's path, so the work begins a turn later.
   */
  const within = (latch: Latch.Latch, millis: number): Effect.Effect<void> =>
    latch.await.pipe(Effect.andThen(Effect.yieldNow), Effect.timeoutOption(millis), Effect.asVoid)

  const keepPace: Effect.Effect<void> = Effect.suspend(() => {
    const rest = lastCommitAt + backend.paceMillis - monotonic()
    return rest > 0 ? within(crowded, Math.min(rest, backend.paceMillis)) : Effect.void
  })

  const gather: Effect.Effect<void> = Effect.suspend(() => {
    if (backend.paceMillis === 0) return Effect.void
    return uncommitted.urgent() ? keepPace : Effect.andThen(within(urgent, lazyMillis), keepPace)
  })

  /** Why a checkpoint was lost, and not told yet. */
  let lostTo: JournalFault | undefined
  let attempt = 0
  const writer = Effect.gen(function*() {
    yield* dirty.await
    if (lostTo !== undefined) {
      const fault = lostTo
      lostTo = undefined
      yield* failed(fault)
    }
    // As in `within`.
    yield* Effect.yieldNow
    yield* gather
    dirty.closeUnsafe()
    urgent.closeUnsafe()
    crowded.closeUnsafe()
    const group = uncommitted.group(now(), failure !== undefined)
    if (group === undefined || (yield* commit(group))) {
      attempt = 0
      if (uncommitted.urgent() || uncommitted.hasYoung()) dirty.openUnsafe()
    } else {
      dirty.openUnsafe()
      yield* Effect.sleep(retryMillis(attempt++))
    }
  })

  const watcher = Effect.gen(function*() {
    yield* busy.await
    yield* Effect.sleep(stallMillis / 2)
    if (commitStarted === undefined || monotonic() - commitStarted < stallMillis || failure !== undefined) return
    yield* failed(
      new JournalFault({
        operation: "commit",
        reason: "stalled",
        detail: "the disk of the usage journal does not answer"
      })
    )
  })

  const commitSoon = (): void => {
    dirty.openUnsafe()
    urgent.openUnsafe()
  }

  const checkpoint = (counts: PackedCounts): void => {
    const lost = (fault: JournalFault | undefined): void => {
      lostTo = fault
      uncommitted.lostCounts(counts)
      commitSoon()
    }
    if (failure === undefined && uncommitted.isIdle() && backend.checkpoint(counts, lost)) return
    uncommitted.counts(counts)
    commitSoon()
  }

  const closed = (slot: number, record: JournalRecord): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      const end = uncommitted.close(slot, record, now())
      if (failure === undefined) waiters.push({ end, resume })
      else resume(Effect.void)
      if (waiters.length >= crowd) crowded.openUnsafe()
      commitSoon()
    })

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      const group = uncommitted.group(now(), false)
      return group === undefined ? Effect.succeed(false) : commit(group)
    }).pipe(
      Effect.repeat({ while: (more) => more }),
      Effect.interruptible,
      Effect.timeoutOption(lastCommit),
      Effect.andThen(Effect.suspend(() => {
        const { records, tokens } = uncommitted.unsaved()
        return records === 0
          ? Effect.void
          : Effect.logFatal(`usage journal: the sidecar stops and the journal cannot be written; not recorded`).pipe(
            Effect.annotateLogs({ streams: records, tokens })
          )
      }))
    )
  )
  if (options.fault !== undefined) {
    yield* failed(options.fault)
    dirty.openUnsafe()
  }
  yield* Effect.forkScoped(Effect.forever(writer), { startImmediately: true })
  if (backend.paceMillis > 0) yield* Effect.forkScoped(Effect.forever(watcher), { startImmediately: true })

  return {
    sidecarId: backend.sidecarId,
    opened: (stream) => {
      uncommitted.open(stream)
      dirty.openUnsafe()
    },
    checkpoint,
    closed,
    generation: backend.generation,
    nextBatch: (limit, except) => answered("nextBatch", backend.nextBatch(limit, except)),
    settle: (batchId, settlement) => answered("settle", backend.settle(batchId, settlement)),
    setAside: backend.setAside,
    retrySetAside: backend.retrySetAside,
    balance: answered("balance", backend.balance).pipe(
      Effect.map((balance) => {
        // Then there is nothing to report, and nobody asks.
        if (balance?.waiting.records === 0) {
          unanswered.delete("nextBatch")
          unanswered.delete("settle")
        }
        return lastBalance = balance ?? lastBalance
      }),
      Effect.catch(() => Effect.sync(() => lastBalance)),
      Effect.map((balance) => {
        const unsaved = uncommitted.unsaved()
        const plus = (sum: Sum): Sum => ({
          records: sum.records + unsaved.records,
          tokens: sum.tokens + unsaved.tokens
        })
        return { ...balance, delivered: plus(balance.delivered), waiting: plus(balance.waiting), unsaved }
      })
    ),
    condition: () => {
      const [unread] = unanswered.values()
      const trouble = failure ?? unread
      return trouble === undefined ? ok : {
        _tag: "failing",
        reason: trouble.fault.reason,
        detail: trouble.fault.detail,
        since: trouble.since,
        unsaved: uncommitted.unsavedStreams()
      }
    }
  }
})
