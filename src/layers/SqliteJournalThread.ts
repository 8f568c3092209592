/**
 * Entry of the thread that writes the usage journal. It is started by `SqliteJournal` and knows no Effect: it does one
 * command at a time, in order.
 */
import { parentPort, workerData } from "node:worker_threads"
import { makeJournalFile } from "../internal/usage/journalFile.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import type { Checkpoint, Request, ThreadOptions } from "../internal/usage/threadProtocol.ts"

const options: ThreadOptions = workerData
const port = parentPort
const file = makeJournalFile(options, makeRecordIds(Math.random))

/** After this time the journal has begun, and what that took is garbage. Milliseconds. */
const BEGUN = 1000
// A program that lets us (`--expose-gc`) has 2 MiB back; nobody waits for it but a commit, for some 20 ms.
setTimeout(() => void globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" }), BEGUN).unref()

port?.on("message", (request: Request | Checkpoint) => {
  if ("counts" in request) {
    const news = file.checkpoint(request)
    if (news === undefined) Atomics.store(options.onItsWay, 0, 0)
    else port.postMessage(news)
    return
  }
  port.postMessage(file.handle(request))
  if (request.command.op === "stop") port.close()
})
