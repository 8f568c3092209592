import { closeSync, fstatSync, openSync, readSync, rmSync, type Stats, statSync, writeFileSync } from "node:fs"
import { stat } from "node:fs/promises"
import type { DatabaseSync } from "node:sqlite"
import { nameOf } from "./fileIdentity.ts"
import { createPrivate } from "./privateFile.ts"
import { int } from "./sqliteRows.ts"

/**
 * A journal's file that nobody writes yet: begun, closed, and whole without a log. Whoever left it holds the lock on it, and
 * another thread of the process takes it over.
 */
export interface RestingFile {
  /** Which file it is, and which file its lock, as `fileAt` names them. */
  readonly file: string
  readonly lock: string
  /** What could be seen of it from outside when it was left: see {@link lookAt}. */
  readonly mark: string
  /**
   * Open as long as the journal is, and with it what the file holds, should it be deleted. Closed by who left it, when no thread has
   * the file open any more: to close it earlier would let go of the locks that SQLite has on the file (POSIX).
   */
  readonly descriptor: number
  /** Shared memory of one cell: 0 while it rests, 1 once a thread has taken it over. */
  readonly taken: Int32Array
}

const markOf = (file: Stats | undefined, log: Stats | undefined, lock: string | undefined): string =>
  [file && `${nameOf(file)} ${file.size} ${file.mtimeMs}`, log?.size ?? 0, lock].join(", ")

const seen = (path: string): Promise<Stats | undefined> => stat(path).catch(() => undefined)

/**
 * What can be seen of a journal's file without opening it. It changes with the file, its lock, and all that others write
 * (`sidecar usage quarantine retry`); not with those that read.
 */
export const lookAt = async (path: string): Promise<string> => {
  const [file, log, lock] = await Promise.all([seen(path), seen(`${path}-wal`), seen(`${path}.lock`)])
  return markOf(file, log, lock && nameOf(lock))
}

/** Closes an open file and leaves it to rest; `undefined`: it cannot, as its log is needed or it is no longer at its path. */
export const leaveToRest = (
  db: DatabaseSync,
  path: string,
  { file, lock }: Pick<RestingFile, "file" | "lock">
): RestingFile | undefined => {
  // Not all of a log is brought home while somebody reads what was before it.
  const row = db.prepare("PRAGMA wal_checkpoint(PASSIVE)").get()
  if (int(row, "busy") !== 0 || int(row, "log") !== int(row, "checkpointed")) return undefined
  const descriptor = openSync(path, "r")
  if (nameOf(fstatSync(descriptor)) !== file) {
    closeSync(descriptor)
    return undefined
  }
  db.close()
  const mark = markOf(fstatSync(descriptor), statSync(`${path}-wal`, { throwIfNoEntry: false }), lock)
  const taken = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  return { file, lock, mark, descriptor, taken }
}

export const isTaken = ({ taken }: RestingFile): boolean => Atomics.load(taken, 0) === 1

export const setTaken = ({ taken }: RestingFile): void => void Atomics.store(taken, 0, 1)

/** Does something with a copy of what a resting file held, when the file itself is gone from its path. */
export const withCopy = (left: RestingFile, path: string, use: (copy: string) => void): void => {
  const copy = `${path}.rested`
  const remove = (): void => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(copy + suffix, { force: true })
  }
  remove()
  createPrivate(copy)
  try {
    const bytes = Buffer.alloc(256 * 1024)
    const target = openSync(copy, "w")
    try {
      let at = 0
      for (let read = 1; read > 0; at += read) {
        read = readSync(left.descriptor, bytes, 0, bytes.length, at)
        writeFileSync(target, bytes.subarray(0, read))
      }
    } finally {
      closeSync(target)
    }
    use(copy)
  } finally {
    remove()
  }
}
