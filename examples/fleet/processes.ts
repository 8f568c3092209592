import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { setTimeout as delay } from "node:timers/promises"

const root = path.resolve(import.meta.dirname, "../..")
const bundle = path.join(root, "dist/bin/sidecar.js")
/** The built program where there is one, for it starts three times as fast. */
const program = fs.existsSync(bundle) ? bundle : path.join(root, "src/main.ts")

const children = new Set<ChildProcess>()
process.once("exit", () => {
  for (const child of children) child.kill("SIGKILL")
})

/** A process of the fleet. */
export class Process {
  readonly #child: ChildProcess
  readonly #gone: Promise<void>
  /** The last that it has printed. */
  output = ""

  constructor(
    command: string,
    args: ReadonlyArray<string>,
    options: { readonly env?: Readonly<Record<string, string>>; readonly cwd?: string } = {}
  ) {
    this.#child = spawn(command, args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env["PATH"] ?? "", PYTHONDONTWRITEBYTECODE: "1", ...options.env },
      cwd: options.cwd ?? root
    })
    children.add(this.#child)
    const hear = (chunk: Buffer): void => {
      this.output = (this.output + chunk.toString()).slice(-4_000_000)
    }
    this.#child.stdout?.on("data", hear)
    this.#child.stderr?.on("data", hear)
    this.#gone = new Promise((resolve, reject) => {
      this.#child.once("error", reject)
      this.#child.once("close", () => {
        children.delete(this.#child)
        resolve()
      })
    })
  }

  get exitCode(): number | null {
    return this.#child.exitCode
  }

  /** Completes when it has ended by itself. */
  get gone(): Promise<void> {
    return this.#gone
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Ends it, and waits for that. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.#child.kill(signal)
    await this.#gone
  }

  /** Completes when it has printed `text`. */
  async says(text: string): Promise<void> {
    while (!this.output.includes(text)) {
      if (this.#child.exitCode !== null) {
        throw new Error(`${this.#child.spawnargs.join(" ")} has ended:\n${this.output}`)
      }
      await delay(20)
    }
  }
}

export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        address === null || typeof address === "string" ? reject(new Error("no port")) : resolve(address.port)
      )
    })
  })

/** One worker and its sidecar, each of which can be replaced. */
export class Member {
  readonly port: number
  readonly metricsPort: number
  readonly #folder: string
  readonly #workerArgs: ReadonlyArray<string>
  #worker: Process | undefined
  #sidecar: Process | undefined

  private constructor(folder: string, port: number, metricsPort: number, workerArgs: ReadonlyArray<string>) {
    this.#folder = folder
    this.port = port
    this.metricsPort = metricsPort
    this.#workerArgs = workerArgs
  }

  /** `workerArgs`: flags of `sidecar worker`; `metering`: lines of that section of the sidecar's file. */
  static async start(folder: string, workerArgs: ReadonlyArray<string>, metering: string): Promise<Member> {
    fs.mkdirSync(folder)
    const member = new Member(folder, await freePort(), await freePort(), workerArgs)
    const lines = [
      "[server]",
      `bind_addr = "127.0.0.1:${member.port}"`,
      `worker_uds = "unix://${path.join(folder, "worker.sock")}"`,
      "[observability]",
      "metrics_host = \"127.0.0.1\"",
      `metrics_port = ${member.metricsPort}`,
      "[metering]",
      `journal_path = "${path.join(folder, "usage.sqlite")}"`,
      "batch_interval_secs = 1",
      metering
    ]
    fs.writeFileSync(path.join(folder, "sidecar.toml"), lines.join("\n"))
    await member.startWorker()
    await member.startSidecar()
    return member
  }

  async startWorker(): Promise<void> {
    this.#worker = new Process(process.execPath, [
      program,
      "worker",
      "--socket",
      path.join(this.#folder, "worker.sock"),
      ...this.#workerArgs
    ])
    await this.#worker.says("stand-in worker listening")
  }

  /** Starts the sidecar, and waits until it is ready. */
  async startSidecar(): Promise<void> {
    const sidecar = new Process(process.execPath, [program], { cwd: this.#folder })
    this.#sidecar = sidecar
    await sidecar.says("gRPC server listening")
    while (!(await this.#ready())) await delay(50)
  }

  /** The model is loaded anew. */
  reload(): void {
    this.#worker?.signal("SIGUSR1")
  }

  /** Drains the sidecar, and starts it again. */
  async restartSidecar(): Promise<void> {
    await this.#sidecar?.end()
    await this.startSidecar()
  }

  /** Ends the worker, in order or by `SIGKILL`, and starts it again after a while. */
  async restartWorker(signal: NodeJS.Signals, awayMillis: number): Promise<void> {
    await this.#worker?.end(signal)
    await delay(awayMillis)
    await this.startWorker()
  }

  /** A figure of its metrics, 0 where there is none. */
  async figure(series: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.metricsPort}/metrics`)).text()
    return Number(text.split("\n").find((line) => line.startsWith(`${series} `))?.split(" ")[1] ?? 0)
  }

  async end(): Promise<void> {
    await this.#sidecar?.end()
    await this.#worker?.end("SIGKILL")
  }

  async #ready(): Promise<boolean> {
    const response = await fetch(`http://127.0.0.1:${this.metricsPort}/readyz`).catch(() => undefined)
    await response?.arrayBuffer()
    return response?.status === 200
  }
}
