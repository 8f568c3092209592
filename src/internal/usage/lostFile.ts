import { existsSync, fstatSync, readdirSync, readlinkSync, renameSync, rmSync } from "node:fs"
import { resolve } from "node:path"
import type { DatabaseSync } from "node:sqlite"
import type { Sum } from "../../services/UsageJournal.ts"
import { createPrivate } from "./privateFile.ts"
import { fileAt } from "./sqliteFile.ts"
import { int } from "./sqliteRows.ts"
import { recordColumns } from "./sqliteSchema.ts"

/**
 * What became of a file that is open and no longer at its path. `gone`: deleted, hidden by a mount, or nobody can tell:
 * it lives only as long as it is open.
 */
export type Whereabouts = { readonly _tag: "gone" } | { readonly _tag: "moved"; readonly path: string }

const descriptors = "/proc/self/fd"

const linkOf = (descriptor: number, file: string): string | undefined => {
  try {
    const { dev, ino, nlink } = fstatSync(descriptor)
    return `${dev}:${ino}` === file && nlink > 0 ? readlinkSync(`${descriptors}/${descriptor}`) : undefined
  } catch {
    return undefined
  }
}

/** Looks for an open `file` (as `fileAt` names it), where the system lists what a process has open (Linux). */
export const whereabouts = (file: string, path: string): Whereabouts => {
  if (!existsSync(descriptors)) return { _tag: "gone" }
  for (const descriptor of readdirSync(descriptors)) {
    const link = linkOf(Number(descriptor), file)
    if (link === undefined || link === resolve(path)) continue
    if (fileAt(link) === file) return { _tag: "moved", path: link }
  }
  return { _tag: "gone" }
}

/** Writes all that an open database holds to `path`, where there is no file: whole or not at all. */
export const restore = (db: DatabaseSync, path: string): void => {
  const whole = `${path}.restored`
  rmSync(whole, { force: true })
  createPrivate(whole)
  db.prepare("VACUUM INTO ?").run(whole)
  renameSync(whole, path)
}

/**
 * Copies the records of an open journal into the journal at `path`, which belongs to somebody else's past: all at once,
 * those that it has already stay as they are. Answers what came to it, by which its `delivered` grows.
 */
export const carryOver = (db: DatabaseSync, path: string): Sum => {
  const columns = ["place", "batch_id", "reason", ...recordColumns].join(", ")
  db.prepare("ATTACH ? AS target").run(path)
  try {
    db.exec("BEGIN IMMEDIATE")
    const last = int(db.prepare("SELECT MAX(id) AS last FROM target.record_rows").get(), "last")
    db.exec(
      `INSERT INTO target.record_rows (${columns}) SELECT ${columns} FROM main.records WHERE true ORDER BY id
       ON CONFLICT DO NOTHING`
    )
    const row = db.prepare(
      `SELECT TOTAL(COALESCE(merged_records, 1)) AS records, TOTAL(tokens_generated) AS tokens
       FROM target.record_rows WHERE id > ?`
    ).get(last)
    const came = { records: int(row, "records"), tokens: int(row, "tokens") }
    db.prepare(
      `INSERT INTO target.totals VALUES ('delivered', ?, ?) ON CONFLICT (name)
       DO UPDATE SET records = records + excluded.records, tokens = tokens + excluded.tokens`
    ).run(came.records, came.tokens)
    db.exec("COMMIT")
    return came
  } finally {
    if (db.isTransaction) db.exec("ROLLBACK")
    db.exec("DETACH target")
  }
}
