/**
 * Entry of the thread that writes the usage journal. It is started by `SqliteJournal` and knows no Effect: it does one
 * command at a time, in order.
 */
import { parentPort, workerData } from "node:worker_threads"
import { makeJournalFile } from "../internal/usage/journalFile.ts"
import { makeRecordIds } from "../internal/usage/recordId.ts"
import { checkpointLost, type Request, type ThreadOptions } from "../internal/usage/threadProtocol.ts"

const options: ThreadOptions = workerData
const port = parentPort
const file = makeJournalFile(options, makeRecordIds(Math.random))

port?.on("message", (request: Request) => {
  if (request.command.op === "checkpoint") {
    if (file.checkpoint(request)) Atomics.store(options.onItsWay, 0, 0)
    else port.postMessage(checkpointLost)
    return
  }
  port.postMessage(file.handle(request))
  if (request.command.op === "stop") port.close()
})
