import type { DatabaseSync } from "node:sqlite"
import { type Beginning, type Ledger, makeLedger } from "./ledger.ts"
import { faultOf } from "./sqliteFault.ts"
import { inodeOf, lock, openToWrite, prepareFolder, setFileAside, Unusable } from "./sqliteFile.ts"
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

interface Opened {
  readonly db: DatabaseSync
  readonly ledger: Ledger
  readonly begun: Beginning
  readonly inode: number | undefined
}

/**
 * The journal's file with everything that can befall it: opened when it can be, written by one owner, set aside when it
 * is damaged, opened anew after a fault. Synchronous; runs in the thread of `layers/SqliteJournal`.
 */
export const makeJournalFile = (options: JournalFileOptions, recordId: (millis: number) => string) => {
  let held: DatabaseSync | undefined
  let opened: Opened | undefined
  /** Faults of a damaged file in a row. */
  let strikes = 0
  let generation = options.generation
  let sidecarId = options.sidecarId
  let notices: Array<Notice> = []

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
    return { db, ledger, begun, inode: inodeOf(options.path) }
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
    prepareFolder(options.path)
    held ??= lock(options.path)
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

  /** A file that was moved or deleted under us is written no more: what comes next goes to the path's own file. */
  const leaveLostFile = (): void => {
    if (opened === undefined || inodeOf(options.path) === opened.inode) return
    notices.push({ level: "error", text: `usage journal: ${options.path} was moved or deleted; a new one begins` })
    close()
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
      close()
      return { _tag: "fault", reason: fault.reason, detail: `${options.path}: ${fault.detail}` }
    }
  }

  const perform = ({ command, now }: Request): Reply["result"] => {
    if (command.op === "stop") {
      close()
      held?.close()
      held = undefined
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
