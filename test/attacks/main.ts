/**
 * `npm run attacks`: each attack on a daemon of its own, while a neighbour's tokens run through it: which limit bit, how
 * often, what the log said, the daemon's memory and processor time, and the neighbour's latencies before, during and
 * after. Prints the rows of the table in docs/http2.md, and exits with 1 when a limit did not bite that has to.
 *
 * `--only tls`: those whose name matches; `--part 1/3`: a third of them; `--seconds 3`: so long before, during and after;
 * `--turns`: the longest turns of the event loop, too, at a price; `TEST_PROGRAM`: another build.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { setTimeout as delay } from "node:timers/promises"
import { parseArgs } from "node:util"
import type { RawStream } from "../conformance/raw/connection.ts"
import { RawWorker, wholeAnswer } from "../conformance/raw/worker.ts"
import { nodeBinary } from "../support/node.ts"
import { endOfStream, token } from "../support/protobuf.ts"
import { type Figures, Sidecar } from "../support/sidecar.ts"
import { type Attack, attacks } from "./attacks.ts"
import { type Latency, Neighbour } from "./neighbour.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "" },
    part: { type: "string", default: "1/1" },
    seconds: { type: "string", default: "1.5" },
    turns: { type: "boolean", default: false }
  }
})
const seconds = Number(values.seconds)
const [part = 1, parts = 1] = values.part.split("/").map(Number)
const print = (text: string): void => void process.stdout.write(`${text}\n`)

const pair = path.join(import.meta.dirname, "../fixtures/tls/server")
const SECURE = { SIDECAR_TLS_CERT: `${pair}.crt`, SIDECAR_TLS_KEY: `${pair}.key` }

/** What a worker says to whoever asks for it: 20 messages of a kilobyte, and the end. */
const answer = (stream: RawStream): boolean => {
  if (stream.trailer("x-neighbour") !== undefined) return false
  const kilobyte = Buffer.alloc(1000, "y").toString()
  const messages = [...Array.from({ length: 20 }, (_, at) => token(at, kilobyte)), endOfStream(20)]
  if (stream.trailer("x-answer") === "long") void stream.connection.send(wholeAnswer(stream.id, messages))
  return true
}

/** What of the daemon one sees from outside, at one moment. */
interface Look {
  readonly rss: number
  /** Processor time that it has used, in seconds. */
  readonly cpu: number
}

/** Clock ticks a second, in which Linux tells processor times. */
const TICKS = 100

const look = (sidecar: Sidecar): Look => {
  const fields = fs.readFileSync(`/proc/${sidecar.pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ")
  return { rss: sidecar.residentBytes(), cpu: (Number(fields[11]) + Number(fields[12])) / TICKS }
}

/** Watches for a while: the most memory, the share of a core, the neighbour's latencies. */
const watch = async (sidecar: Sidecar, neighbour: Neighbour) => {
  neighbour.latency()
  const before = look(sidecar)
  let peak = before.rss
  for (let slept = 0; slept < seconds * 1000; slept += 50) {
    await delay(50)
    peak = Math.max(peak, sidecar.residentBytes())
  }
  const after = look(sidecar)
  return { peak, rss: after.rss, cpu: (after.cpu - before.cpu) / seconds, latency: neighbour.latency() }
}

/** Counters that tell of limits, with a label or without. */
const COUNTER =
  /^(sidecar_(?:(?:http2_limits|limits|http2_sessions_closed)_total\{(?:limit|code)="([^"]*)"\}|(metadata_rejected)_total))/

/** Those that moved, by label or name, and how often. */
const bites = (before: Figures, after: Figures): ReadonlyArray<string> =>
  after.text.split("\n").flatMap((line) => {
    const [, series = "", label, name = label] = COUNTER.exec(line) ?? []
    if (name === undefined || name === "no_error" || name === "none") return []
    const more = after.get(series) - (before.find(series) ?? 0)
    return more > 0 ? [`${name} ${more}`] : []
  })

const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0)
const ms = (one: Latency): string => `${one.p50.toFixed(1)} / ${one.p99.toFixed(1)}`

/** Preloads what watches the event loop's turns. */
const watched = (folder: string) =>
  values.turns
    ? {
      NODE_OPTIONS: `--import ${path.join(import.meta.dirname, "turns.ts")}`,
      TURNS_FILE: path.join(folder, "turns")
    }
    : {}

/** The longest turns since then, and the longest pause of the collector, in milliseconds. */
const turns = (folder: string, since: number): string => {
  if (!values.turns) return ""
  const lines = fs.readFileSync(path.join(folder, "turns"), "utf8").trim().split("\n").map((line) =>
    line.split(" ").map(Number)
  )
  const during = lines.filter(([at = 0]) => at > since + 100)
  const top = during.map(([, turn = 0]) => turn).toSorted((a, b) => b - a).slice(0, 5).map((turn) => turn.toFixed(1))
  return ` ${top.join(", ")}; collector ${Math.max(...during.map(([, , pause = 0]) => pause)).toFixed(1)} |`
}

/** The daemon's event loop has a core of its own, and all others share the other one. */
const pin = (sidecar: Sidecar): void => {
  if (!values.turns) return
  spawnSync("taskset", ["-acp", "1", String(process.pid)])
  spawnSync("taskset", ["-acp", "1", String(sidecar.pid)])
  spawnSync("taskset", ["-cp", "0", String(sidecar.pid)])
}

/** One attack on a daemon of its own; a row of the table. */
const row = async (attack: Attack): Promise<string> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
  const sidecar = await Sidecar.start(folder, {
    env: { ...(attack.secure === true ? SECURE : {}), ...attack.env, ...watched(folder) }
  })
  const worker = await RawWorker.start(path.join(folder, "worker.sock"), { onCall: answer })
  let attacker: ChildProcess | undefined
  try {
    await sidecar.connected()
    pin(sidecar)
    const neighbour = await Neighbour.open(sidecar.address, attack.secure === true, worker)
    // What a new process does once: compile, and take its first memory.
    await delay(2000)
    const [figures, lines] = [await sidecar.metrics(), sidecar.logs.all.length]
    const before = await watch(sidecar, neighbour)
    const [host = "", port = ""] = sidecar.address.split(":")
    const number = String(attacks.indexOf(attack))
    attacker = spawn(nodeBinary, [path.join(import.meta.dirname, "attacker.ts"), number, host, port], {
      stdio: ["ignore", "ignore", "inherit", "ipc"]
    })
    await once(attacker, "message")
    const began = Date.now()
    const during = await watch(sidecar, neighbour)
    const longest = turns(folder, began)
    const gone = new Promise((resolve) => attacker?.once("exit", resolve))
    attacker.kill("SIGKILL")
    await gone
    const after = await watch(sidecar, neighbour)
    // Not the lines of streams that have ended.
    const told = sidecar.logs.all.slice(lines).filter(({ level }) => level === "warn")
    neighbour.close()
    const bitten = bites(figures, await sidecar.metrics())
    if (attack.limit !== undefined && !bitten.some((bite) => bite.startsWith(`${attack.limit} `))) process.exitCode = 1
    const moved = bitten.join(", ")
    return `| ${attack.name} | ${moved || "none"} | ${told.length} | ${Math.round(during.cpu * 100)} % | ` +
      `${mib(before.rss)} / ${mib(during.peak)} / ${mib(after.rss)} | ` +
      `${ms(before.latency)} | ${ms(during.latency)} | ${ms(after.latency)} |${longest}`
  } finally {
    attacker?.kill("SIGKILL")
    await worker.close()
    await sidecar.close()
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

const chosen = attacks.filter(({ name }) => new RegExp(values.only).test(name))
const size = Math.ceil(chosen.length / parts)
print(
  "| attack | limits that bit, how often | lines in the log | processor | RSS before / most / after, MiB | token p50 / p99 before, ms | during | after |"
)
print("|---|---|---|---|---|---|---|---|")
for (const attack of chosen.slice((part - 1) * size, part * size)) print(await row(attack))
