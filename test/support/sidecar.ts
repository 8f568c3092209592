import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { createInterface } from "node:readline"
import { deferred, eventually, Recorder } from "./events.ts"
import { environment, nodeBinary, program } from "./node.ts"

/** Which of the two wires the daemon runs on (`SIDECAR_WIRE`). */
export type WireName = "http2" | "grpc-js"

export const wires: ReadonlyArray<WireName> = ["http2", "grpc-js"]

export type LogLine = Readonly<Record<string, unknown>>

export interface SidecarExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface SidecarOptions {
  readonly wire?: WireName
  /** Settings by their environment names, over the test's own. */
  readonly env?: Readonly<Record<string, string>>
  /** The file `sidecar.toml` of the daemon's folder. */
  readonly toml?: string
  readonly uid?: number
  readonly gid?: number
}

/** The figures of one scrape: `name` or `name{label="x"}` to value. */
export class Figures {
  readonly #values = new Map<string, number>()
  readonly text: string

  constructor(text: string) {
    this.text = text
    for (const line of text.split("\n")) {
      const cut = line.lastIndexOf(" ")
      if (!line.startsWith("#") && cut > 0) this.#values.set(line.slice(0, cut), Number(line.slice(cut + 1)))
    }
  }

  /** The value of a series; `undefined` when it is not there. */
  find(series: string): number | undefined {
    return this.#values.get(series)
  }

  get(series: string): number {
    const value = this.#values.get(series)
    if (value === undefined) throw new Error(`no series ${series}`)
    return value
  }
}

const running = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL")
})

/** The daemon, as an operator starts it, with settings from the environment. */
export class Sidecar {
  readonly folder: string
  readonly wire: WireName
  readonly stdout: Array<string> = []
  readonly stderr: Array<string> = []
  readonly logs = new Recorder<LogLine>()
  readonly exited: Promise<SidecarExit>
  readonly #child: ChildProcess
  #metricsUrl = ""

  constructor(folder: string, options: SidecarOptions, args: ReadonlyArray<string> = []) {
    this.folder = folder
    this.wire = options.wire ?? "http2"
    if (options.toml !== undefined) fs.writeFileSync(path.join(folder, "sidecar.toml"), options.toml)
    const exited = deferred<SidecarExit>()
    this.exited = exited.promise
    this.#child = spawn(nodeBinary, [program, ...args], {
      cwd: folder,
      stdio: ["ignore", "pipe", "pipe"],
      ...(options.uid === undefined ? {} : { uid: options.uid }),
      ...(options.gid === undefined ? {} : { gid: options.gid }),
      env: {
        ...environment,
        HOME: folder,
        SIDECAR_BIND_ADDR: "127.0.0.1:0",
        SIDECAR_METRICS_HOST: "127.0.0.1",
        SIDECAR_METRICS_PORT: "0",
        SIDECAR_WORKER_UDS: `unix://${path.join(folder, "worker.sock")}`,
        SIDECAR_JOURNAL_PATH: path.join(folder, "usage.sqlite"),
        SIDECAR_LOG_FORMAT: "json",
        SIDECAR_WIRE: this.wire,
        ...options.env
      }
    })
    running.add(this.#child)
    for (const [stream, lines] of [[this.#child.stdout!, this.stdout], [this.#child.stderr!, this.stderr]] as const) {
      createInterface({ input: stream }).on("line", (line) => {
        lines.push(line)
        const parsed = parse(line)
        if (parsed !== undefined) this.logs.push(parsed)
      })
    }
    this.#child.once("error", (cause) => exited.reject(cause))
    this.#child.once("close", (code, signal) => {
      running.delete(this.#child)
      this.logs.fail(new Error(`the sidecar has ended (${signal ?? code}):\n${this.output}`))
      exited.resolve({ code, signal })
    })
  }

  /** Starts it and waits until it serves; it may still be without a worker. */
  static async start(folder: string, options: SidecarOptions = {}): Promise<Sidecar> {
    const sidecar = new Sidecar(folder, options)
    await sidecar.serving()
    return sidecar
  }

  /** Completes when both ports are open. */
  async serving(): Promise<void> {
    const metrics = await this.log("metrics server listening")
    this.#metricsUrl = `http://${String(metrics["address"])}`
    await this.log("gRPC server listening")
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Everything it has printed. */
  get output(): string {
    return [...this.stdout, ...this.stderr].join("\n")
  }

  /** The addresses it serves gRPC on. */
  get addresses(): ReadonlyArray<string> {
    return this.logs.all.filter((line) => said(line, "gRPC server listening")).map((line) => String(line["address"]))
  }

  get address(): string {
    const [address] = this.addresses
    if (address === undefined) throw new Error("the sidecar does not listen yet")
    return address
  }

  /** The first log line, from index `from` on, whose message contains `text`. */
  log(text: string, from = 0): Promise<LogLine> {
    return this.logs.first((line) => said(line, text), `log line "${text}"`, from)
  }

  async metrics(): Promise<Figures> {
    const response = await fetch(`${this.#metricsUrl}/metrics`)
    if (response.status !== 200) throw new Error(`/metrics: ${response.status}`)
    return new Figures(await response.text())
  }

  get(route: string): Promise<Response> {
    return fetch(`${this.#metricsUrl}${route}`)
  }

  async ready(): Promise<{ readonly status: number; readonly body: LogLine }> {
    const response = await this.get("/readyz")
    return { status: response.status, body: parse(await response.text()) ?? {} }
  }

  /** Completes when the worker is Connected (or, with `false`, is not). */
  async connected(connected = true): Promise<void> {
    await eventually(`readiness ${connected}`, async () => {
      const { status } = await this.ready()
      return (status === 200) === connected ? true : undefined
    })
  }

  /** The figures once a look at them gives true. */
  figures(what: string, look: (figures: Figures) => boolean): Promise<Figures> {
    return eventually(what, async () => {
      const figures = await this.metrics()
      return look(figures) ? figures : undefined
    })
  }

  /** Waits until no stream is in flight. */
  settled(): Promise<Figures> {
    return this.figures("no stream in flight", (figures) => figures.get("sidecar_active_connections") === 0)
  }

  /** Resident memory in bytes. */
  residentBytes(): number {
    const found = /^VmRSS:\s+(\d+) kB$/m.exec(fs.readFileSync(`/proc/${this.pid}/status`, "utf8"))
    if (found === null) throw new Error("no VmRSS")
    return Number(found[1]) * 1024
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** Ends it without ceremony. */
  async close(): Promise<void> {
    if (this.isRunning) this.#child.kill("SIGKILL")
    await this.exited
  }
}

const parse = (line: string): LogLine | undefined => {
  if (!line.startsWith("{")) return undefined
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const said = (line: LogLine, text: string): boolean => String(line["msg"] ?? line["message"] ?? "").includes(text)
