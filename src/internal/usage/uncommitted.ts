import type { JournalRecord, OpenStream, Sum } from "../../services/UsageJournal.ts"
import type { PackedCounts } from "./counts.ts"
import { fits, merge, mergeKey, startMerge, sumOf } from "./merge.ts"
import type { UsageGroup } from "./store.ts"

/** Records in one group: large enough for a good rate, small enough to be posted without a pause of the event loop. */
const groupLimit = 500

/** Holes among the open rows that wait: they come with every stream that is short. */
const mostHoles = 256

/** An end, and the slot of the open row that goes with it, where one has been written. */
interface Ending {
  readonly record: JournalRecord
  readonly slot: number | undefined
}

const recordOf = ({ record }: Ending): JournalRecord => record

/**
 * What waits for the next commit. When the journal cannot be written for long, records beyond `limit` are merged here as
 * the journal itself would merge them, so that a full disk cannot fill the memory.
 */
export const makeUncommitted = (options: {
  readonly session: string
  readonly limit: number
  readonly recordId: (millis: number) => string
  /** A stream that is younger has no row yet: most of those that are short never need one. Milliseconds. */
  readonly rowAfterMillis: number
}) => {
  /** In their order; a hole for each that has ended since. */
  let opened: Array<OpenStream | undefined> = []
  /** Where in `opened` a slot's stream stands. Numbers only: objects that come and go in a `Map` are kept too long (see `Roster`). */
  const openedAt = new Map<number, number>()
  const written = new Set<number>()
  const limit = Math.max(options.limit, 2 * groupLimit)
  let closed: Array<Ending> = []
  let merged = new Map<string, JournalRecord>()
  let mergedSlots: Array<number> = []
  let counts: PackedCounts | undefined
  let sequence = 0
  let inFlight: UsageGroup | undefined
  let accepted = 0
  let done = 0

  const mergeOldest = (now: number): void => {
    for (const { record, slot } of closed.splice(0, Math.ceil(limit / 10))) {
      if (slot !== undefined) mergedSlots.push(slot)
      const key = mergeKey(record)
      const into = merged.get(key)
      if (into !== undefined && fits(into, record)) merged.set(key, merge(into, record))
      else {
        // The full one keeps its place under its own id, which is no key.
        if (into !== undefined) merged.set(into.record_id, into)
        merged.set(key, startMerge(record, options.recordId(now)))
      }
    }
  }

  const keepOpened = (kept: (stream: OpenStream) => boolean): void => {
    opened = opened.filter((stream) => stream !== undefined && kept(stream))
    openedAt.clear()
    for (const [at, stream] of opened.entries()) if (stream !== undefined) openedAt.set(stream.slot, at)
  }

  /** A clock that was put back makes nobody wait. */
  const isOld = (stream: OpenStream, now: number): boolean => Math.abs(now - stream.startedAt) >= options.rowAfterMillis

  /** The rows that are due; the others wait on, unless there are counters of theirs. */
  const takeOpened = (now: number): ReadonlyArray<OpenStream> => {
    const isDue = counts === undefined ? isOld : () => true
    // They stand in their order: nearly always none is due when the first is not.
    const first = opened.find((stream) => stream !== undefined)
    if (first === undefined || !isDue(first, now)) return []
    const due = opened.flatMap((stream) =>
      stream === undefined || !isDue(stream, now) ? [] : {
        slot: stream.slot,
        recordId: stream.recordId,
        startedAt: stream.startedAt,
        identity: stream.identity
      }
    )
    for (const { slot } of due) written.add(slot)
    keepOpened((stream) => !isDue(stream, now))
    return due
  }

  /** Open rows leave the file in the group that brings their record: a kill between two groups loses neither. */
  const takeClosed = (): Pick<UsageGroup, "closed" | "ended"> => {
    const taken = closed.splice(0, groupLimit)
    const ended = mergedSlots
    for (const { slot } of taken) {
      if (slot !== undefined) ended.push(slot)
    }
    const records = [...merged.values(), ...taken.map(recordOf)]
    merged = new Map()
    mergedSlots = []
    return { closed: records, ended }
  }

  const isWaitedFor = (): boolean => closed.length > 0 || merged.size > 0 || counts !== undefined

  return {
    /** The identity is read when the group is made: it may become known until then. */
    open: (stream: OpenStream): void => {
      if (opened.length > mostHoles + 2 * openedAt.size) keepOpened(() => true)
      const at = openedAt.get(stream.slot) ?? opened.length
      opened[at] = stream
      openedAt.set(stream.slot, at)
    },
    counts: (next: PackedCounts): void => {
      counts = next
    },
    /** Counters that went beside the groups and may be lost: they come back unless newer ones are there. */
    lostCounts: (lost: PackedCounts): void => {
      if (inFlight?.counts === undefined) counts ??= lost
    },
    /** Nothing waits, and nothing is being committed. */
    isIdle: (): boolean => inFlight === undefined && openedAt.size === 0 && !isWaitedFor(),
    /** Answers the number of this end; it is committed when {@link committed} has reached it. */
    close: (slot: number, record: JournalRecord, now: number): number => {
      const at = openedAt.get(slot)
      if (at !== undefined) {
        opened[at] = undefined
        openedAt.delete(slot)
        if (openedAt.size === 0) opened = []
      }
      closed.push({ record, slot: written.delete(slot) ? slot : undefined })
      if (closed.length > limit) mergeOldest(now)
      return ++accepted
    },
    /**
     * The group to commit now: the one whose fate is unknown, unchanged, else what has gathered. `probe`: an empty group
     * when there is nothing, to see whether the journal works again.
     */
    group: (now: number, probe: boolean): UsageGroup | undefined => {
      if (inFlight !== undefined) return inFlight
      const rows = takeOpened(now)
      if (!probe && rows.length === 0 && !isWaitedFor()) return undefined
      inFlight = {
        session: options.session,
        sequence: ++sequence,
        at: now,
        opened: rows,
        ...takeClosed(),
        counts
      }
      counts = undefined
      return inFlight
    },
    /** The group is in the journal. */
    commit: (): void => {
      done += inFlight === undefined ? 0 : sumOf(inFlight.closed).records
      inFlight = undefined
    },
    /** So many ends have been committed. Ends are committed in their order, but for those merged in memory. */
    committed: (): number => done,
    /** More waits than rows of streams that have just begun. */
    urgent: (): boolean => inFlight !== undefined || isWaitedFor(),
    /** Rows of streams that have just begun wait. */
    hasYoung: (): boolean => openedAt.size > 0,
    /** Streams and tokens that are only in memory. */
    unsaved: (): Sum => {
      const parts = [sumOf(closed.map(recordOf)), sumOf(merged.values()), sumOf(inFlight?.closed ?? [])]
      return {
        records: parts.reduce((sum, part) => sum + part.records, 0),
        tokens: parts.reduce((sum, part) => sum + part.tokens, 0)
      }
    },
    unsavedStreams: (): number => accepted - done
  }
}
