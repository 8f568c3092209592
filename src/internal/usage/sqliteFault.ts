import type { JournalFaultReason } from "../../services/UsageJournal.ts"

/** The primary result codes of SQLite that have a meaning of their own here (sqlite.org/rescode.html). */
const byResultCode: ReadonlyMap<number, JournalFaultReason> = new Map([
  [3, "readonly"],
  [5, "locked"],
  [6, "locked"],
  [8, "readonly"],
  [11, "corrupt"],
  [13, "full"],
  [14, "readonly"],
  [26, "corrupt"]
])

const byErrno: ReadonlyMap<string, JournalFaultReason> = new Map([
  ["EACCES", "readonly"],
  ["EPERM", "readonly"],
  ["EROFS", "readonly"],
  ["ENOSPC", "full"],
  ["EDQUOT", "full"]
])

/** What an error of `node:sqlite` or `node:fs` means, and its words. */
export const faultOf = (error: unknown): { readonly reason: JournalFaultReason; readonly detail: string } => {
  const detail = error instanceof Error ? error.message : String(error)
  if (typeof error !== "object" || error === null) return { reason: "io", detail }
  if ("errcode" in error && typeof error.errcode === "number") {
    return { reason: byResultCode.get(error.errcode & 0xff) ?? "io", detail }
  }
  if ("code" in error && typeof error.code === "string") return { reason: byErrno.get(error.code) ?? "io", detail }
  return { reason: "io", detail }
}
