import { Effect, Option, type Scope } from "effect"
import { closeSync } from "node:fs"
import { open } from "node:fs/promises"
import { dirname } from "node:path"
import type { UsageBalance } from "../../services/UsageJournal.ts"
import { lookAt, type RestingFile } from "./restingFile.ts"
import type { JournalFileOptions, Reply } from "./threadProtocol.ts"

/** A journal that has been begun, and that nobody writes until a thread takes its file over. */
export interface RestingJournal {
  readonly file: RestingFile
  /**
   * As the journal was left; `undefined`: the file is not as it was left, so that only who opens it knows. Nothing but this
   * answer waits for the disk.
   */
  readonly balance: Effect.Effect<UsageBalance | undefined>
}

/** A journal that was begun in this thread. */
export interface BegunHere {
  /** What it came to. */
  readonly reply: Reply
  /** `undefined`: it could not be begun, or not be left. Whoever wants to write begins it again. */
  readonly rest: RestingJournal | undefined
}

/** Node 22 calls its SQLite experimental, on stderr; a thread has an option against it, this one has not. */
const loadQuietly = (): void => {
  const { emitWarning } = process
  process.emitWarning = () => {}
  try {
    process.getBuiltinModule("node:sqlite")
  } finally {
    process.emitWarning = emitWarning
  }
}

/** Completes when the disk has taken what was written to the folder; at once, where there is no such folder. */
const flush = async (folder: string): Promise<void> => {
  try {
    const handle = await open(folder)
    await handle.sync().finally(() => handle.close())
  } catch {
    // Whatever it is: it is told by who opens the file.
  }
}

/** Whether the disk answers at all: whoever begins the journal here waits for it, and all others with him. */
export const answersWithin = (path: string, limit: `${number} seconds`): Effect.Effect<boolean> =>
  Effect.map(Effect.timeoutOption(Effect.promise(() => flush(dirname(path))), limit), Option.isSome)

const leftBy = (reply: Reply, path: string, file: RestingFile): RestingJournal => {
  const balance = reply.result._tag === "done" ? reply.result.answer.balance : undefined
  return {
    file,
    balance: Effect.map(Effect.promise(() => lookAt(path)), (mark) => mark === file.mark ? balance : undefined)
  }
}

/**
 * Begins a journal in this thread, before anybody is served, and leaves its file to rest. The lock on it is held here until the
 * scope closes, whichever threads come and go.
 */
export const beginHere = (
  options: JournalFileOptions,
  recordId: (millis: number) => string,
  now: number
): Effect.Effect<BegunHere, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      loadQuietly()
      const { makeJournalFile } = await import("./journalFile.ts")
      const journal = makeJournalFile(options, recordId)
      return { journal, reply: journal.handle({ id: 0, now, command: { op: "begin" } }), file: journal.rest() }
    }),
    ({ file, journal }) =>
      Effect.sync(() => {
        if (file !== undefined) closeSync(file.descriptor)
        journal.handle({ id: 0, now, command: { op: "stop" } })
      })
  ).pipe(
    Effect.map(({ file, reply }) => ({
      reply,
      rest: file === undefined ? undefined : leftBy(reply, options.path, file)
    }))
  )
