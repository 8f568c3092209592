import type { DatabaseSync } from "node:sqlite"
import { fileAt } from "./fileIdentity.ts"
import { type Ledger, makeLedger } from "./ledger.ts"
import { rescue } from "./lostFile.ts"
import { createPrivate, keepPrivate } from "./privateFile.ts"
import { isTaken, leaveToRest, type RestingFile, setTaken, withCopy } from "./restingFile.ts"
import type { SpeltRecords } from "./spelling.ts"
import { faultOf } from "./sqliteFault.ts"
import { lock, openToWrite, prepareFolder, setFileAside, Unusable } from "./sqliteFile.ts"
import { makeSqliteStore } from "./sqliteStore.ts"
import type {
  Answer,
  Checkpoint,
  CheckpointNews,
  Command,
  JournalFileOptions,
  Notice,
  Reply,
  Request
} from "./threadProtocol.ts"

interface Held {
  /** `undefined`: another thread of this process has it, which left the file to rest. */
  readonly db: DatabaseSync | undefined
  readonly file: string | undefined
}

interface Opened {
  readonly db: DatabaseSync
  readonly ledger: Ledger<SpeltRecords>
  /** Of the file and of its write-ahead log. */
  readonly file: string | undefined
  readonly log: string | undefined
}

/**
 * The journal's file with everything that can befall it: opened when it can be, written by one owner, set aside when it
 * is damaged, opened anew after a fault. Synchronous: it runs in the thread of `layers/SqliteJournal`, or before anybody is
 * served.
 */
export const makeJournalFile = (options: JournalFileOptions, recordId: (millis: number) => string) => {
  let held: Held | undefined
  let opened: Opened | undefined
  /** Faults of a damaged file in a row. */
  let strikes = 0
  let generation = options.generation
  let sidecarId = options.sidecarId
  let notices: Array<Notice> = []
  const lockPath = `${options.path}.lock`
  const logPath = `${options.path}-wal`

  const tell = (text: string): void =>
    void notices.push({ level: "error", text: `usage journal: ${text}`, fault: "moved" })

  let complained = false
  /** Makes the folder and the files: for us alone, or it is told once. */
  const prepare = (): void => {
    prepareFolder(options.path)
    const readable = keepPrivate(options.path)
    if (readable.length === 0 || complained) return
    complained = true
    notices.push({
      level: "error",
      text: `usage journal: other users may read ${
        readable.join(", ")
      }, which names tenants and players; change the owner or the mode`
    })
  }

  const takeLock = (): Held => {
    const file = fileAt(lockPath)
    return file !== undefined && file === options.resting?.lock
      ? { db: undefined, file }
      : { db: lock(options.path), file: fileAt(lockPath) }
  }

  const close = (): void => {
    const { db } = opened ?? {}
    opened = undefined
    try {
      db?.close()
    } catch (error) {
      notices.push({ level: "error", text: `usage journal: could not be closed: ${faultOf(error).detail}` })
    }
  }

  const begin = (db: DatabaseSync, now: number): Opened => {
    const store = makeSqliteStore(db)
    const ledger = makeLedger(store, { recordId, retention: options.retention })
    const begun = ledger.begin(options.session, sidecarId, now)
    sidecarId = begun.sidecarId
    if (!begun.resumed) generation++
    store.setMeta("pid", String(process.pid))
    if (begun.interrupted > 0) {
      notices.push({
        level: "info",
        text: `usage journal: ${begun.interrupted} streams of the last run had no end, closed as interrupted`
      })
    }
    if (begun.doubted > 0) {
      notices.push({
        level: "error",
        text:
          `usage journal: ${begun.doubted} records of an earlier version have more tokens than a worker can mean; ` +
          "they are set aside, all others are reported; see \"sidecar usage quarantine list\""
      })
    }
    return { db, ledger, file: fileAt(options.path), log: fileAt(logPath) }
  }

  const asideThenFresh = (detail: string, now: number): Opened => {
    const name = setFileAside(options.path, now)
    strikes = 0
    notices.push({
      level: "error",
      text:
        `usage journal: ${options.path} was damaged (${detail}); it was set aside as ${name}, a fresh journal begins`
    })
    return begin(openToWrite(options.path, options.durability), now)
  }

  const open = (now: number): Opened => {
    const { resting } = options
    const isChecked = resting !== undefined && !isTaken(resting) && takeOver(resting, now)
    prepare()
    held ??= takeLock()
    if (strikes > 1) return asideThenFresh("it fails again and again", now)
    let db: DatabaseSync | undefined
    try {
      db = openToWrite(options.path, options.durability, isChecked)
      return begin(db, now)
    } catch (error) {
      if (db?.isOpen === true) db.close()
      if (error instanceof Unusable || faultOf(error).reason !== "corrupt") throw error
      return asideThenFresh(faultOf(error).detail, now)
    }
  }

  const run = (file: Opened, command: Command, now: number): Answer => {
    const { ledger } = file
    switch (command.op) {
      case "begin":
        return { balance: ledger.balance() }
      case "commit":
        ledger.commit(command.group)
        return {}
      case "nextBatch":
        return { batch: ledger.nextBatch(command.limit, now, command.except) }
      case "settle":
        ledger.settle(command.batchId, command.settlement, now)
        return {}
      case "setAside":
        return { setAside: ledger.setAside() }
      case "retrySetAside":
        return { moved: ledger.retrySetAside(command.recordIds) }
      case "balance":
        return { balance: ledger.balance() }
      case "stop":
        return {}
    }
  }

  const isLost = (): boolean => opened !== undefined && fileAt(options.path) !== opened.file

  /** A lock whose file was removed keeps nobody out. Where another sidecar has taken the new one, it writes and we wait. */
  const holdLock = (): void => {
    if (held !== undefined && fileAt(lockPath) === held.file) return
    held?.db?.close()
    held = undefined
    try {
      // Not the file itself: where there is none, what is open is written there.
      prepareFolder(options.path)
      createPrivate(lockPath)
      held = takeLock()
      tell(`${lockPath} was removed, and is made again`)
    } catch (error) {
      if (!isLost()) close()
      throw error
    }
  }

  /** Leaves a file that was moved or deleted under us, once what it holds is safe; until then it is written on. */
  const leaveLostFile = (): void => {
    if (opened === undefined) return
    holdLock()
    if (isLost()) {
      tell(rescue(opened, options))
      close()
    } else if (opened.log !== undefined && fileAt(logPath) !== opened.log) {
      opened.db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      tell(`${logPath} was removed; what it held was still open and is in ${options.path} now, nothing was lost`)
      close()
    }
  }

  /** Answers whether the file is where it was left; else what it held is brought to what is there now. */
  const takeOver = (left: RestingFile, now: number): boolean => {
    held ??= { db: undefined, file: left.lock }
    holdLock()
    const isThere = fileAt(options.path) === left.file
    if (!isThere) {
      prepareFolder(options.path)
      withCopy(left, options.path, (copy) => {
        try {
          opened = { ...begin(openToWrite(copy, options.durability), now), file: left.file, log: undefined }
          tell(rescue(opened, options))
        } finally {
          close()
        }
      })
      setTaken(left)
    }
    return isThere
  }

  const attempt = (now: number, work: (file: Opened) => Answer, look: () => void = () => {}): Reply["result"] => {
    try {
      look()
      opened ??= open(now)
      if (options.resting !== undefined) setTaken(options.resting)
      const answer = work(opened)
      strikes = 0
      return { _tag: "done", answer }
    } catch (error) {
      if (error instanceof Unusable) return { _tag: "unusable", reason: error.reason, detail: error.message }
      const fault = faultOf(error)
      if (fault.reason === "corrupt") strikes++
      // A file that is only open holds what cannot be opened again.
      if (!isLost() || strikes > 1) close()
      return { _tag: "fault", reason: fault.reason, detail: `${options.path}: ${fault.detail}` }
    }
  }

  const stop = (): void => {
    try {
      leaveLostFile()
    } catch (error) {
      if (isLost()) {
        const { setAside, waiting } = opened?.ledger.balance() ?? {}
        tell(
          `${options.path} was deleted and cannot be written again (${faultOf(error).detail}); lost: `
            + `${(waiting?.records ?? 0) + (setAside?.records ?? 0)} records with `
            + `${(waiting?.tokens ?? 0) + (setAside?.tokens ?? 0)} tokens`
        )
      }
    }
    close()
    held?.db?.close()
    held = undefined
  }

  const rest = (): RestingFile | undefined => {
    if (opened?.file === undefined || held?.file === undefined) return undefined
    return leaveToRest(opened.db, options.path, { file: opened.file, lock: held.file })
  }

  const perform = ({ command, now }: Request): Reply["result"] => {
    if (command.op === "stop") {
      stop()
      return { _tag: "done", answer: {} }
    }
    return attempt(now, (file) => run(file, command, now), command.op === "balance" ? leaveLostFile : undefined)
  }

  return {
    /** Writes counters; answers what must be told, if anything. Never throws. */
    checkpoint: ({ counts, now }: Checkpoint): CheckpointNews | undefined => {
      const before = generation
      const result = attempt(now, ({ ledger }) => {
        ledger.checkpoint(counts, now)
        return {}
      })
      if (result._tag === "done" && notices.length === 0 && generation === before) return undefined
      return { sidecarId, generation, fault: result._tag === "fault" ? result : undefined }
    },
    /**
     * Closes the file and leaves it for another thread to take over, under the lock, which stays here until `stop`;
     * `undefined`: it cannot rest, and all is let go. Never throws.
     */
    rest: (): RestingFile | undefined => {
      try {
        const left = rest()
        if (left === undefined) stop()
        else opened = undefined
        return left
      } catch {
        stop()
        return undefined
      }
    },
    /** Does what is asked, or nothing of it. Never throws. */
    handle: (request: Request): Reply => {
      const result = perform(request)
      const reply = { id: request.id, op: request.command.op, sidecarId, generation, notices, result }
      notices = []
      return reply
    }
  }
}
