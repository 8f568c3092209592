import { chmodSync, closeSync, existsSync, openSync, statSync } from "node:fs"

/** Who may read and write: the sidecar's own user. A journal holds tenants and players. */
const ownerOnly = 0o600
const others = 0o077

/** The files of a journal. SQLite gives its log and shared memory the mode of the database. */
const suffixes = ["", "-wal", "-shm", ".lock"]

/**
 * Makes an empty file that only its owner may read, where there is none: SQLite takes that for a new database. One that is
 * there is not opened: closing it would let go of the locks that this process has on it (POSIX).
 */
export const createPrivate = (path: string): void => {
  if (!existsSync(path)) closeSync(openSync(path, "a", ownerOnly))
}

/**
 * Makes the journal's files, and takes from those of an earlier version what others may do with them. Answers what others
 * may do all the same, as the files are another user's.
 */
export const keepPrivate = (path: string): ReadonlyArray<string> => {
  // Opened in any case, for nobody has it open now: one that cannot be written is told by the system's words.
  closeSync(openSync(path, "a", ownerOnly))
  createPrivate(`${path}.lock`)
  const left: Array<string> = []
  for (const file of suffixes.map((suffix) => path + suffix).filter((name) => existsSync(name))) {
    const { mode } = statSync(file)
    if ((mode & others) === 0) continue
    try {
      chmodSync(file, mode & 0o777 & ~others)
    } catch {
      left.push(`${file} (mode 0${(mode & 0o777).toString(8)})`)
    }
  }
  return left
}
