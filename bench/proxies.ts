/** The proxies that run side by side: each a process of its own in front of the same worker. */
import { type ChildProcess, spawn } from "node:child_process"
import { existsSync, mkdirSync, openSync, readFileSync } from "node:fs"
import * as net from "node:net"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { otherFlags, otherMain, programOf, sidecarMain } from "./build.ts"
import { foreign, type ForeignName, isForeign } from "./foreign.ts"
import type { Ask, Told } from "./instrument.ts"
import { type Address, Load } from "./load.ts"
import { childrenOf, has, pinned, PROXY_CORE } from "./machine.ts"

export type ProxyName =
  | "sidecar"
  | "sidecar-grpc-js"
  | "sidecar-whole"
  | "sidecar-memory"
  | "sidecar-unmetered"
  | "sidecar-uncounted"
  | "sidecar-other"
  | "grpc-js"
  | "splice"
  | ForeignName
  | "journal"
  | "nothing"

/** A proxy that serves. */
export interface Proxy {
  readonly name: ProxyName
  readonly address: Address
  /** All of its processes. */
  readonly pids: ReadonlyArray<number>
  /** Milliseconds from the spawn to the first token of a stream. */
  readonly startMillis: number
  /** Asks the preloaded instrument; only for Node proxies started with `instrument`. */
  readonly ask: (ask: Ask) => Promise<Told>
  readonly stop: () => Promise<void>
}

export interface Place {
  /** A folder for logs and journals. */
  readonly dir: string
  /** The worker's socket. */
  readonly socket: string
  readonly instrument: boolean
}

/** They carry nothing: the load goes straight to the worker, and they stand beside its way. */
const beside: ReadonlyArray<ProxyName> = ["journal", "nothing"]

/** Why a proxy cannot take part, if so. */
export const missing = (name: ProxyName): string | undefined => {
  if (isForeign(name)) return has(name) ? undefined : `${name} is not installed`
  if (name === "sidecar-other") return existsSync(otherMain) ? undefined : "BENCH_OTHER names no program"
  if (name.startsWith("sidecar")) return existsSync(sidecarMain) ? undefined : `${sidecarMain} is not there`
  return undefined
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = net.createServer()
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(address === null || typeof address === "string" ? 0 : address.port))
    })
  })

const commandOf = (name: ProxyName, place: Place, port: number, dir: string): readonly [string, Array<string>] => {
  const preload = place.instrument
    ? ["--import", programOf("instrument")]
    : []
  if (isForeign(name)) return foreign[name]({ dir, port, socket: place.socket })
  switch (name) {
    case "grpc-js":
      return [process.execPath, [...preload, programOf("grpcjs-passthrough"), String(port), place.socket]]
    case "splice":
      return [process.execPath, [...preload, programOf("http2-splice"), String(port), place.socket]]
    case "nothing":
      return [process.execPath, [...preload, programOf("nothing")]]
    case "journal":
      return [process.execPath, [...preload, programOf("journal"), "500", "200", "5"]]
    case "sidecar-other":
      return [process.execPath, [...otherFlags, ...preload, otherMain]]
    case "sidecar-whole":
    case "sidecar-memory":
    case "sidecar-unmetered":
    case "sidecar-uncounted":
      return [process.execPath, [...preload, programOf("variant"), name.slice("sidecar-".length)]]
    default:
      return [process.execPath, [...preload, sidecarMain]]
  }
}

/** One 1-token stream through the proxy; whether it arrived whole. */
const probe = async (address: Address): Promise<boolean> => {
  const load = await Load.connect(address).catch(() => undefined)
  if (load === undefined) return false
  const whole = await new Promise<boolean>((resolve) => {
    const limit = setTimeout(() => resolve(false), 1000)
    load.start({ kind: "short", tokens: 1, gapMillis: 0 }, {
      onEnd: (complete) => {
        clearTimeout(limit)
        resolve(complete)
      }
    })
  })
  void load.close()
  return whole
}

const answer = (child: ChildProcess, ask: Ask): Promise<Told> =>
  new Promise((resolve) => {
    child.once("message", (told: Told) => resolve(told))
    child.send(ask)
  })

/** Starts a proxy and waits until it has carried a stream. */
export const start = async (name: ProxyName, place: Place): Promise<Proxy> => {
  const port = await freePort()
  const metricsPort = await freePort()
  const dir = join(place.dir, `${name}-${port}`)
  mkdirSync(dir)
  const log = join(dir, "log")
  const output = openSync(log, "w")
  const [command, args] = pinned(PROXY_CORE, ...commandOf(name, place, port, dir))
  const spawned = performance.now()
  const child = spawn(command, args, {
    cwd: dir,
    stdio: ["ignore", output, output, ...(isForeign(name) ? [] : ["ipc" as const])],
    env: {
      ...process.env,
      NODE_ENV: "production",
      SIDECAR_BIND_ADDR: `127.0.0.1:${port}`,
      SIDECAR_WORKER_UDS: `unix://${place.socket}`,
      SIDECAR_METRICS_HOST: "127.0.0.1",
      SIDECAR_METRICS_PORT: String(metricsPort),
      SIDECAR_JOURNAL_PATH: join(dir, "usage.sqlite"),
      SIDECAR_LOG_FORMAT: "json",
      // As with the others: a limit that is reached would decide a figure. A stream whose cancel had to wait goes on at the
      // worker, and the next figure would pay for its tokens.
      SIDECAR_MAX_CONCURRENT_STREAMS: "4096",
      SIDECAR_MAX_WORKER_CANCELS_PER_SEC: "0",
      ...(name === "sidecar-grpc-js" ? { SIDECAR_WIRE: "grpc-js" } : {})
    }
  })
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()))
  const address = beside.includes(name) ? { path: place.socket } : { port }
  while (!(await probe(address))) {
    if (child.exitCode !== null || performance.now() - spawned > 20_000) {
      // A killed master would leave its worker behind.
      child.kill(isForeign(name) ? "SIGTERM" : "SIGKILL")
      const lines = readFileSync(log, "utf8").split("\n").slice(-12)
      throw new Error(`${name} does not serve; its last words:\n${lines.join("\n")}`)
    }
    await sleep(5)
  }
  const startMillis = performance.now() - spawned
  const pid = child.pid ?? 0
  return {
    name,
    address,
    pids: [pid, ...childrenOf(pid)],
    startMillis,
    ask: (ask) => answer(child, ask),
    stop: async () => {
      child.kill("SIGTERM")
      const hard = setTimeout(() => child.kill("SIGKILL"), 5000)
      await exited
      clearTimeout(hard)
    }
  }
}
