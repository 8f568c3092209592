import * as fs from "node:fs"
import { eventually, Inbox } from "../events.ts"
import { trailer } from "../gateway.ts"
import type { RawCall } from "../http2Gateway.ts"
import type { Lab } from "../lab.ts"
import { endOfStream, fieldsOf, request, textOf, token } from "../protobuf.ts"
import type { LogLine } from "../sidecar.ts"
import type { TestWorker, WorkerSideCall } from "../testWorker.ts"
import { inWords, type Seen, StatusHistory } from "./account.ts"
import type { Account, AtWorker, RealThings, Stage, Visit } from "./stage.ts"

const RST_INTERNAL = 2

/** The words of a log line. */
export const messageOf = (line: LogLine): string => String(line["msg"] ?? line["message"] ?? "")

/** What the log tells of the worker's status. */
export const statusOf = (lines: ReadonlyArray<LogLine>): StatusHistory => {
  const history = new StatusHistory()
  for (const text of lines.map(messageOf)) {
    if (text.startsWith("connected to worker")) history.push("Connected")
    else if (text.startsWith("worker is reloading")) history.push("Reloading")
    else if (text.startsWith("worker not connected")) {
      history.push("Disconnected", /^worker not connected \((\w+)\)/.exec(text)?.[1])
    }
  }
  return history
}

const reply = (message: Buffer): Seen["replies"][number] => ({
  chunk: textOf(message, 2),
  endOfStream: fieldsOf(message).get(3)?.[0] === 1,
  index: Number(fieldsOf(message).get(4)?.[0] ?? 0)
})

const seenOf = async (call: RawCall, left: boolean): Promise<Seen> => {
  if (left) return { replies: call.messages.all.map(reply), left, status: undefined }
  const status = await call.status
  return {
    replies: call.messages.all.map(reply),
    left,
    status: {
      code: status.code,
      message: status.message,
      trailer: (key) => trailer(status, key),
      trailersOnly: status.trailersOnly
    }
  }
}

/** The state letter of a process: `T` is stopped. */
const processState = (pid: number): string | undefined =>
  /^State:\s+(\S)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]

/** The daemon, a worker process and a gateway, all real. */
export const realStage = (lab: Lab): {
  readonly stage: Stage
  readonly account: (figures: ReadonlyArray<string>) => Promise<Account>
  readonly things: RealThings
} => {
  const arrivals: Array<string> = []
  const inbox = new Inbox<{ readonly name: string; readonly call: WorkerSideCall }>()
  const sides = new WeakMap<AtWorker, WorkerSideCall>()
  const visits: Array<{ readonly call: RawCall; left: boolean }> = []
  let processes = 0

  const attend = (worker: TestWorker): void => {
    const process = ++processes
    worker.serveWith((call) => {
      const name = call.headers["x-name"] ?? ""
      arrivals.push(`${process} ${name}`)
      inbox.offer({ name, call })
    })
  }
  attend(lab.worker)

  const history = (): StatusHistory => statusOf(lab.sidecar.logs.all)
  const gateway = lab.rawGateway()

  const visit = (name: string, call: RawCall): Visit => {
    const entry = { call, left: false }
    visits.push(entry)
    return {
      name,
      received: (messages) => call.messages.count(messages, `messages of ${name}`),
      ended: async () => {
        const pushback = trailer(await call.status, "grpc-retry-pushback-ms")
        return pushback === undefined ? undefined : Number(pushback)
      },
      cancel: () => {
        entry.left = true
        call.cancel()
      }
    }
  }

  const side = (call: WorkerSideCall, first: Buffer): AtWorker => {
    let index = 0
    let tokens = 0
    const at: AtWorker = {
      request: first,
      notice: (text) => call.send(token(index++, text)),
      tokens: (count) => {
        for (let left = count; left > 0; left--) call.send(token(index++, `t${tokens++} `))
      },
      finish: () => {
        call.send(endOfStream(index++))
        call.end()
      },
      reset: () => call.reset(RST_INTERNAL)
    }
    sides.set(at, call)
    return at
  }

  const stage: Stage = {
    gateway: (name, ask = {}) =>
      visit(
        name,
        gateway.call({
          metadata: [["x-name", name]],
          requests: [request({ prompt: name, ...(ask.priority === undefined ? {} : { priority: ask.priority }) })],
          ...(ask.deadlineMillis === undefined ? {} : { timeoutMillis: ask.deadlineMillis })
        })
      ),
    atWorker: async (name) => {
      const { call } = await inbox.take((one) => one.name === name)
      return side(call, await call.request())
    },
    worker: {
      kill: () => lab.worker.kill(),
      start: async () => attend(await lab.startWorker()),
      stop: async () => {
        lab.worker.signal("SIGSTOP")
        await eventually("a stopped worker", () => processState(lab.worker.pid) === "T" ? true : undefined)
      },
      wake: async () => lab.worker.signal("SIGCONT"),
      reloads: async () =>
        lab.worker.setHealth({
          kind: "answer",
          healthy: true,
          metrics: { status: "reloading", eta_seconds: "600" }
        }),
      isWell: async () => lab.worker.setHealth({ kind: "answer", healthy: true, metrics: {} }),
      goAway: async (call) => sides.get(call)?.goaway(0),
      asked: (times) => lab.worker.healthProbes.count(times, "probes"),
      connections: (count) => lab.worker.connections.count(count, "connections")
    },
    status: async (word) => {
      await lab.sidecar.logs.first(() => history().is(word), `status ${word} (${history().words.join(", ")})`)
    },
    figure: async (name, least) => {
      await lab.sidecar.figures(`${name} ≥ ${least}`, (figures) => figures.get(name) >= least)
    },
    gauge: async (name, value) => {
      await lab.sidecar.figures(`${name} = ${value}`, (figures) => figures.get(name) === value)
    },
    pass: (millis) => new Promise((resolve) => setTimeout(resolve, millis))
  }

  return {
    stage,
    account: async (names) => {
      const gateways = await Promise.all(visits.map(async ({ call, left }) => inWords(await seenOf(call, left))))
      const figures = await lab.sidecar.settled()
      return {
        gateways,
        workers: arrivals,
        status: history().words,
        figures: Object.fromEntries(names.map((name) => [name, figures.get(name)]))
      }
    },
    things: {
      get log() {
        const lines = lab.sidecar.logs.all.map((line) => `${String(line["level"])} ${messageOf(line)}`)
        return lines.slice(lines.findIndex((line) => line.endsWith(" connected to worker")))
      }
    }
  }
}
