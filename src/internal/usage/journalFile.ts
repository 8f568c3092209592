import type { DatabaseSync } from "node:sqlite"
import { type Beginning, type Ledger, makeLedger } from "./ledger.ts"
import { carryOver, restore, whereabouts } from "./lostFile.ts"
import { createPrivate, keepPrivate } from "./privateFile.ts"
import type { SpeltRecords } from "./spelling.ts"
import { faultOf } from "./sqliteFault.ts"
import { fileAt, lock, openToWrite, prepareFolder, setFileAside, Unusable } from "./sqliteFile.ts"
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
  readonly db: DatabaseSync
  readonly file: string | undefined
}

interface Opened {
  readonly db: DatabaseSync
  readonly ledger: Ledger<SpeltRecords>
  readonly begun: Beginning
  /** Of the file and of its write-ahead log. */
  readonly file: string | undefined
  readonly log: string | undefined
}

/**
 * The journal's file with everything that can befall it: opened when it can be, written by one owner, set aside when it
 * is damaged, opened anew after a fault. Synchronous; runs in the thread of `layers/SqliteJournal`.
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

  const takeLock = (): Held => ({ db: lock(options.path), file: fileAt(lockPath) })

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
    return { db, ledger, begun, file: fileAt(options.path), log: fileAt(logPath) }
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
    prepare()
    held ??= takeLock()
    if (strikes > 1) return asideThenFresh("it fails again and again", now)
    let db: DatabaseSync | undefined
    try {
      db = openToWrite(options.path, options.durability)
      return begin(db, now)
    } catch (error) {
      if (error instanceof Unusable || faultOf(error).reason !== "corrupt") throw error
      if (db?.isOpen === true) db.close()
      return asideThenFresh(faultOf(error).detail, now)
    }
  }

  const run = (file: Opened, command: Command, now: number): Answer => {
    const { ledger } = file
    switch (command.op) {
      case "begin":
        return { interrupted: file.begun.interrupted }
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
    if (opened === undefined || (held !== undefined && fileAt(lockPath) === held.file)) return
    held?.db.close()
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

  /** What an open file holds that is no longer at its path, is brought to what is there now. */
  const rescue = ({ db, file, ledger }: Opened): void => {
    const place = file === undefined ? undefined : whereabouts(file, options.path)
    if (place?._tag === "moved") {
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      const { setAside, waiting } = ledger.balance()
      const left = { records: waiting.records + setAside.records, tokens: waiting.tokens + setAside.tokens }
      return tell(
        `${options.path} was moved to ${place.path}; a fresh journal begins. ${left.records} records with ${left.tokens} `
          + "tokens in the moved file had not been acknowledged and are not reported by themselves: move it back, or post them"
      )
    }
    prepareFolder(options.path)
    if (fileAt(options.path) === undefined) {
      restore(db, options.path)
      return tell(
        `${options.path} was moved or deleted; all that it held was still open and is written again, nothing was lost`
      )
    }
    // Brings it to our schema, or refuses it.
    openToWrite(options.path, options.durability).close()
    const { records, tokens } = carryOver(db, options.path)
    tell(
      `${options.path} is another file than the one that was opened; ${records} streams with ${tokens} tokens that had not `
        + "been acknowledged are carried over into it"
    )
  }

  /** Leaves a file that was moved or deleted under us, once what it holds is safe; until then it is written on. */
  const leaveLostFile = (): void => {
    holdLock()
    if (opened === undefined) return
    if (isLost()) {
      rescue(opened)
      close()
    } else if (opened.log !== undefined && fileAt(logPath) !== opened.log) {
      opened.db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      tell(`${logPath} was removed; what it held was still open and is in ${options.path} now, nothing was lost`)
      close()
    }
  }

  const attempt = (now: number, work: (file: Opened) => Answer, look: () => void = () => {}): Reply["result"] => {
    try {
      look()
      opened ??= open(now)
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
    held?.db.close()
    held = undefined
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
    /** Does what is asked, or nothing of it. Never throws. */
    handle: (request: Request): Reply => {
      const result = perform(request)
      const reply = { id: request.id, op: request.command.op, sidecarId, generation, notices, result }
      notices = []
      return reply
    }
  }
}
