import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { afterAll, afterEach, beforeAll, expect, onTestFinished } from "vitest"
import { GrpcJsGateway } from "./grpcJsGateway.ts"
import { Http2Gateway } from "./http2Gateway.ts"
import { type Figures, Sidecar, type SidecarOptions } from "./sidecar.ts"
import { TestWorker } from "./testWorker.ts"
import type { HealthMode, WorkerEngine } from "./workerProtocol.ts"

export interface LabOptions extends SidecarOptions {
  readonly engine?: WorkerEngine
  /** `false`: the sidecar starts without a worker. */
  readonly worker?: boolean
}

/** A sidecar process, a worker process and gateways, with a folder of their own. */
export class Lab {
  readonly folder: string
  readonly socketPath: string
  readonly #options: LabOptions
  readonly #gateways: Array<() => void> = []
  readonly #workers: Array<TestWorker> = []
  #sidecar: Sidecar | undefined
  #worker: TestWorker | undefined
  #gateway: GrpcJsGateway | undefined

  constructor(options: LabOptions) {
    this.#options = options
    // Short: a Unix socket's path may have 107 bytes.
    this.folder = fs.mkdtempSync(path.join(os.tmpdir(), "cy-"))
    this.socketPath = path.join(this.folder, "worker.sock")
  }

  async open(): Promise<this> {
    try {
      if (this.#options.worker !== false) await this.startWorker()
      await this.startSidecar()
      if (this.#options.worker !== false) await this.sidecar.connected()
      return this
    } catch (cause) {
      await this.close()
      throw cause
    }
  }

  get sidecar(): Sidecar {
    if (this.#sidecar === undefined) throw new Error("no sidecar")
    return this.#sidecar
  }

  /** What the sidecar has printed. */
  get output(): string {
    return this.#sidecar?.output ?? ""
  }

  get worker(): TestWorker {
    if (this.#worker === undefined) throw new Error("no worker")
    return this.#worker
  }

  /** A grpc-js gateway, the same one each time. */
  get gateway(): GrpcJsGateway {
    this.#gateway ??= this.newGateway()
    return this.#gateway
  }

  newGateway(): GrpcJsGateway {
    const gateway = new GrpcJsGateway(this.sidecar.address)
    this.#gateways.push(() => gateway.close())
    return gateway
  }

  /** A gateway on bare HTTP/2 with a connection of its own. */
  rawGateway(window?: number): Http2Gateway {
    const gateway = new Http2Gateway(this.sidecar.address, window)
    this.#gateways.push(() => gateway.destroy())
    return gateway
  }

  /** Starts the sidecar in the lab's folder and waits until it serves. */
  async startSidecar(options: SidecarOptions = {}): Promise<Sidecar> {
    this.#sidecar = new Sidecar(this.folder, { ...this.#options, ...options })
    await this.#sidecar.serving()
    return this.#sidecar
  }

  async startWorker(health?: HealthMode, engine = this.#options.engine): Promise<TestWorker> {
    this.#worker = await TestWorker.start(this.socketPath, engine, health)
    this.#workers.push(this.#worker)
    return this.#worker
  }

  /** After a test that failed: its gateways leave, and it takes no call of the next test. */
  forget(): void {
    for (const close of this.#gateways.splice(0)) close()
    this.#gateway = undefined
    this.#worker?.forget()
  }

  /** What holds after every test, when all gateways have left. */
  async expectSound(): Promise<void> {
    for (const close of this.#gateways.splice(0)) close()
    if (this.#sidecar === undefined) return
    if (this.#sidecar.isRunning) expectBalanced(await this.#sidecar.settled())
    expectQuiet(this.#sidecar)
  }

  async close(): Promise<void> {
    for (const close of this.#gateways.splice(0)) close()
    for (const worker of this.#workers.splice(0)) await worker.kill()
    if (this.#sidecar !== undefined) await this.#sidecar.close()
    fs.rmSync(this.folder, { recursive: true, force: true })
  }
}

/** What holds whenever no stream is in flight (docs/design.md §9). */
export const expectBalanced = (figures: Figures): void => {
  expect(figures.get("sidecar_active_connections")).toBe(0)
  expect(figures.get("sidecar_requests_total")).toBe(
    figures.get("sidecar_requests_success_total") + figures.get("sidecar_requests_failed_total")
      + figures.get("sidecar_requests_cancelled_total")
  )
}

/** Nothing that a test of the wire does is an error of the sidecar: it logs lines of JSON, none of them an error. */
const expectQuiet = (sidecar: Sidecar): void => {
  // grpc-js prints what it thinks of odd metadata and deadlines by itself.
  if (sidecar.wire === "http2") expect(sidecar.stderr).toEqual([])
  expect(sidecar.stdout.filter((line) => !line.startsWith("{"))).toEqual([])
  expect(sidecar.logs.all.filter((line) => line["level"] === "error" || line["level"] === "fatal")).toEqual([])
}

/** A lab for one test in which nothing runs yet; checked and closed after the test. */
export const emptyLab = (options: LabOptions = {}): Lab => {
  const lab = new Lab(options)
  onTestFinished(async ({ task }) => {
    try {
      if (task.result?.state === "fail") console.error(lab.output)
      else await lab.expectSound()
    } finally {
      await lab.close()
    }
  })
  return lab
}

/** A lab for one test, with a sidecar that is connected to its worker; closed after the test. */
export const openLab = (options: LabOptions = {}): Promise<Lab> => emptyLab(options).open()

/** One lab for all tests of the enclosing `describe`; the figures are balanced after each of them. */
export const useLab = (options: LabOptions = {}): () => Lab => {
  let lab: Lab | undefined
  const get = (): Lab => {
    if (lab === undefined) throw new Error("the lab is not open")
    return lab
  }
  beforeAll(async () => {
    lab = await new Lab(options).open()
  })
  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") {
      get().forget()
      return console.error(get().output)
    }
    expectBalanced(await get().sidecar.settled())
    expect(get().sidecar.isRunning).toBe(true)
    expectQuiet(get().sidecar)
  })
  afterAll(() => lab?.close())
  return get
}

/** What moved between two scrapes. */
export const moved = (before: Figures, after: Figures, series: string): number =>
  after.get(series) - (before.find(series) ?? 0)
