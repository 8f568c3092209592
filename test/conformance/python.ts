import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { promisify } from "node:util"
import { deferred, Recorder } from "../support/events.ts"

const peers = path.join(import.meta.dirname, "peers")

/** A Python with grpcio (Debian: python3-grpcio); `undefined` when there is none. */
export const python = ["/usr/bin/python3", "python3"].find((command) =>
  spawnSync(command, ["-c", "import grpc"]).status === 0
)

/** Added to the names of tests that need it and have to be skipped. */
export const withoutPython = python === undefined ? " (skipped: python3-grpcio is not installed)" : ""

/** What a stream asks of the Python worker. */
export interface Plan {
  readonly mark?: string
  readonly tokens?: number
  readonly gap_ms?: number
  readonly chunk?: number
  readonly end?: boolean
  readonly code?: number
  readonly details?: string
  readonly headers?: ReadonlyArray<readonly [string, string]>
  readonly trailers?: ReadonlyArray<readonly [string, string]>
  readonly hang?: boolean
  readonly gate?: boolean
  readonly quiet?: boolean
}

/** A call of the Python gateway. Binary metadata in hexadecimal. */
export interface Call {
  readonly plan: Plan
  readonly metadata?: ReadonlyArray<readonly [string, string]>
  readonly deadline?: number
  readonly read_ms?: number
  readonly cancel_after?: number
  readonly late_half_close?: boolean
  readonly pad?: number
  /** Index of a call of the same gateway that has to end first. */
  readonly after?: number
}

/** What became of it. */
export interface Outcome {
  readonly messages: number
  readonly tokens: number
  readonly ended: boolean
  readonly in_order: boolean
  readonly bytes: number
  readonly seconds: number
  readonly code: number
  readonly details: string
  readonly initial: ReadonlyArray<readonly [string, string]>
  readonly trailing: ReadonlyArray<readonly [string, string]>
  readonly sha: string
}

/** The first trailer of that name. */
export const trailing = (outcome: Outcome, name: string): string | undefined =>
  outcome.trailing.find(([key]) => key === name)?.[1]

export interface Storm {
  readonly innocents: ReadonlyArray<Outcome>
  readonly cancelled: number
  readonly codes: Readonly<Record<string, number>>
}

export interface Churn {
  readonly ok: number
  readonly others: ReadonlyArray<Outcome>
}

/** A gateway that sends streams only where `grpc.health.v1` says SERVING (gRFC A17). */
const followHealth = { healthCheckConfig: { serviceName: "" }, loadBalancingConfig: [{ round_robin: {} }] }

type Job =
  | { readonly op: "churn"; readonly seconds: number; readonly gateways: number }
  | { readonly op: "streams"; readonly calls: ReadonlyArray<Call>; readonly service_config?: typeof followHealth }
  | { readonly op: "storm"; readonly seconds: number; readonly rate: number; readonly innocents: number }

const ask = async (address: string, job: Job): Promise<unknown> => {
  const { stdout } = await promisify(execFile)(
    python ?? "python3",
    [path.join(peers, "gateway.py"), address, JSON.stringify(job)],
    { maxBuffer: 1 << 26, env: { PATH: process.env["PATH"] ?? "", PYTHONDONTWRITEBYTECODE: "1" } }
  )
  return JSON.parse(stdout)
}

const streams = async (address: string, job: Job): Promise<ReadonlyArray<Outcome>> => {
  const outcomes = await ask(address, job)
  if (!Array.isArray(outcomes)) throw new Error("the gateway told no outcomes")
  return outcomes
}

/** Runs calls at the same time on one channel of a C-core gateway. */
export const calls = (address: string, ...all: ReadonlyArray<Call>): Promise<ReadonlyArray<Outcome>> =>
  streams(address, { op: "streams", calls: all })

/** The same on a channel that follows health with round_robin. */
export const callsByHealth = (address: string, ...all: ReadonlyArray<Call>): Promise<ReadonlyArray<Outcome>> =>
  streams(address, { op: "streams", calls: all, service_config: followHealth })

/** Cancels `rate` streams a second beside innocent ones on one channel of a C-core gateway. */
export const storm = async (
  address: string,
  options: { readonly seconds: number; readonly rate: number; readonly innocents: number }
): Promise<Storm> => JSON.parse(JSON.stringify(await ask(address, { op: "storm", ...options })))

/** Makes stream after stream on the channels of several C-core gateways. */
export const churn = async (
  address: string,
  options: { readonly seconds: number; readonly gateways: number }
): Promise<Churn> => JSON.parse(JSON.stringify(await ask(address, { op: "churn", ...options })))

/** How a Python worker is started. */
export interface PythonWorkerOptions {
  /** Default 10, as a CY-LLM worker has. */
  readonly threads?: number
  /** Seconds that running calls are given on SIGTERM. Default 0. */
  readonly grace?: number
  /** Channel arguments of C-core, `grpc.max_connection_age_ms=300`. */
  readonly channelArgs?: ReadonlyArray<string>
}

/** What the Python worker tells. */
export interface WorkerEvent {
  readonly event: "listening" | "call" | "cancelled"
  readonly mark?: string
  readonly metadata?: Readonly<Record<string, string>>
  readonly remaining?: number | null
  readonly sha?: string
}

/** A worker on C-core, a process of its own. */
export class PythonWorker {
  readonly events = new Recorder<WorkerEvent>()
  readonly #child: ChildProcess
  readonly #exited = deferred<void>()

  private constructor(socketPath: string, { channelArgs = [], grace = 0, threads = 10 }: PythonWorkerOptions) {
    const args = [path.join(peers, "worker.py"), socketPath, String(threads), String(grace), ...channelArgs]
    this.#child = spawn(python ?? "python3", args, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { PATH: process.env["PATH"] ?? "", PYTHONDONTWRITEBYTECODE: "1" }
    })
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.events.push(JSON.parse(line)))
    this.#child.once("exit", () => {
      this.events.fail(new Error("the worker has ended"))
      this.#exited.resolve()
    })
  }

  static async start(socketPath: string, options: PythonWorkerOptions = {}): Promise<PythonWorker> {
    const worker = new PythonWorker(socketPath, options)
    await worker.events.first(({ event }) => event === "listening", "the worker listens")
    return worker
  }

  /** The event of the call with this mark. */
  told(event: WorkerEvent["event"], mark: string): Promise<WorkerEvent> {
    return this.events.first((one) => one.event === event && one.mark === mark, `${event} of ${mark}`)
  }

  /** Streams behind the gate wake up, and later ones do not stop there. */
  openGate(): void {
    this.#child.stdin?.write("\n")
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Completes when the process is gone. */
  get exited(): Promise<void> {
    return this.#exited.promise
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL")
    await this.#exited.promise
  }
}
