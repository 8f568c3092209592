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

/** From the journal's begin to the collection of what that left behind, in milliseconds: a start goes first. */
const SETTLED = 1000

/** Where the program lets us (`--expose-gc`): 2 MiB. Nobody waits for it but a commit, for some 20 ms. */
const collect = (): void => void globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" })

port?.on("message", (request: Request | Checkpoint) => {
  if ("counts" in request) {
    const news = file.checkpoint(request)
    if (news === undefined) Atomics.store(options.onItsWay, 0, 0)
    else port.postMessage(news)
    return
  }
  port.postMessage(file.handle(request))
  if (request.command.op === "begin") setTimeout(collect, SETTLED).unref()
  if (request.command.op === "stop") port.close()
})
