import { existsSync, mkdirSync, renameSync, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { JournalError } from "../../services/UsageJournal.ts"
import { isNoFile } from "../config/crossChecks.ts"
import { faultOf } from "./sqliteFault.ts"
import { int, text } from "./sqliteRows.ts"
import { applicationId, migrations } from "./sqliteSchema.ts"

/** The path can never work as a journal. */
export class Unusable extends Error {
  readonly reason: JournalError["reason"]
  constructor(reason: JournalError["reason"], message: string) {
    super(message)
    this.reason = reason
  }
}

/** Writers wait this long for `sidecar usage quarantine retry`, and it for them. Milliseconds. */
const busyTimeout = 2000
/** A write-ahead log that a long reader made grow is cut back to this. Bytes. */
const logLimit = 16 * 1024 * 1024
/** Beyond this size only the header is checked at the start: a start must not wait for gigabytes. Bytes. */
const checkLimit = 256 * 1024 * 1024

const pragma = (db: DatabaseSync, name: string): number => int(db.prepare(`PRAGMA ${name}`).get(), name)

/** Brings an open database to the newest schema, in one transaction. */
const migrate = (db: DatabaseSync): void => {
  const version = pragma(db, "user_version")
  const tables = int(db.prepare("SELECT COUNT(*) AS tables FROM sqlite_schema").get(), "tables")
  if (tables > 0 && pragma(db, "application_id") !== applicationId) {
    throw new Unusable("foreign", "is a database of another program; name a file that the sidecar may have for itself")
  }
  if (version > migrations.length) {
    throw new Unusable("newer", "was written by a newer sidecar; start that one, or name another file")
  }
  if (version === migrations.length) return
  db.exec("BEGIN IMMEDIATE")
  for (const step of migrations.slice(version)) db.exec(step)
  db.exec(`PRAGMA application_id = ${applicationId}`)
  db.exec(`PRAGMA user_version = ${migrations.length}`)
  db.exec("COMMIT")
}

const check = (db: DatabaseSync, path: string): void => {
  if (statSync(path).size > checkLimit) return
  const found = text(db.prepare("PRAGMA quick_check(1)").get(), "quick_check")
  if (found !== "ok") throw Object.assign(new Error(found), { errcode: 11 })
}

/** Opens the journal's file to write: folder made, schema current, pages checked. */
export const openToWrite = (path: string, durability: "crash" | "power-loss"): DatabaseSync => {
  const db = new DatabaseSync(path, { timeout: busyTimeout })
  try {
    db.exec("PRAGMA journal_mode = WAL")
    db.exec(`PRAGMA synchronous = ${durability === "crash" ? "NORMAL" : "FULL"}`)
    db.exec(`PRAGMA journal_size_limit = ${logLimit}`)
    check(db, path)
    migrate(db)
    return db
  } catch (error) {
    db.close()
    throw error
  }
}

/** Opens the file of a sidecar that may be running: short statements only, since a reader makes its log grow. */
export const openBeside = (path: string, mode: "read" | "write"): DatabaseSync => {
  const db = new DatabaseSync(path, { timeout: busyTimeout, readOnly: mode === "read" })
  if (pragma(db, "application_id") !== applicationId) {
    db.close()
    throw new Unusable("foreign", "is not a usage journal")
  }
  if (pragma(db, "user_version") !== migrations.length) {
    db.close()
    throw new Unusable("newer", "has another version than this program")
  }
  return db
}

/** Makes the folder of the journal, for its user only; tells a path that can never work from one that cannot now. */
export const prepareFolder = (path: string): void => {
  if (isNoFile(path)) {
    throw new Unusable("not_a_file", "is a name of SQLite's and no file; name a file in a folder that can be written")
  }
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    if (existsSync(path) && !statSync(path).isFile()) {
      throw new Unusable("not_a_file", "is not a file; name a file in a folder that can be written")
    }
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOTDIR" || error.code === "EEXIST")) {
      throw new Unusable("not_a_file", "lies below something that is not a folder; name a file in a folder")
    }
    throw error
  }
}

/**
 * One writer per journal: an exclusive lock on a small database beside it, held by the operating system for as long as
 * this process lives, so that `kill -9` frees it and readers of the journal never see it.
 */
export const lock = (path: string): DatabaseSync => {
  const held = new DatabaseSync(`${path}.lock`, { timeout: 0 })
  try {
    held.exec("BEGIN EXCLUSIVE")
    return held
  } catch (error) {
    held.close()
    if (faultOf(error).reason !== "locked") throw error
    throw new Unusable(
      "locked",
      `${holder(path)} writes this journal; stop it, or give each sidecar a journal of its own (SIDECAR_JOURNAL_PATH)`
    )
  }
}

const holder = (path: string): string => {
  try {
    const db = openBeside(path, "read")
    const pid = text(db.prepare("SELECT value FROM meta WHERE key = 'pid'").get(), "value")
    db.close()
    return pid === "" ? "another sidecar" : `another sidecar (process ${pid})`
  } catch {
    return "another sidecar"
  }
}

/** Renames a damaged file and its log to a dated name; answers that name. Nothing is deleted. */
export const setFileAside = (path: string, now: number): string => {
  const date = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "")
  let target = `${path}.corrupt-${date}`
  for (let n = 2; existsSync(target); n++) target = `${path}.corrupt-${date}-${n}`
  renameSync(path, target)
  for (const suffix of ["-wal", "-shm"]) {
    if (existsSync(path + suffix)) renameSync(path + suffix, target + suffix)
  }
  return target
}

/** Which file is at a path now: the file that is open may have been moved or deleted meanwhile. */
export const fileAt = (path: string): string | undefined => {
  const found = statSync(path, { throwIfNoEntry: false })
  return found && `${found.dev}:${found.ino}`
}
