/** Entry of the worker process: `workerMain.ts ENGINE SOCKET`, steered over IPC by `testWorker.ts`. */
import { startGrpcJs } from "./workerGrpcJs.ts"
import { startHttp2 } from "./workerHttp2.ts"
import type { Command, Event } from "./workerProtocol.ts"

const [, , engine, path] = process.argv
if (path === undefined || process.send === undefined) throw new Error("usage: fork workerMain.ts ENGINE SOCKET")
const send = process.send.bind(process)
// A parent that dies takes its worker with it.
process.on("disconnect", () => process.exit(0))
const run = (engine === "http2" ? startHttp2 : startGrpcJs)(path, (event: Event) => {
  send(event, undefined, undefined, () => undefined)
})
process.on("message", (command: Command) => run(command))
