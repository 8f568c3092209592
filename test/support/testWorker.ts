import { type ChildProcess, fork } from "node:child_process"
import { type Deferred, deferred, Inbox, Recorder } from "./events.ts"
import { environment, nodeBinary, worker } from "./node.ts"
import { endOfStream, tokens } from "./protobuf.ts"
import type { Command, Event, HealthMode, Pairs, WorkerEngine } from "./workerProtocol.ts"

/** A call as the worker sees it, answered from the test. */
export class WorkerSideCall {
  readonly id: number
  readonly path: string
  readonly authority: string
  readonly headers: Readonly<Record<string, string>>
  /** Remaining time as the worker sees it. */
  readonly timeoutMillis: number | undefined
  readonly requests = new Recorder<Buffer>()
  /** Completes at the gateway's half-close (for engine grpc-js also just before a cancel). */
  readonly halfClosed: Deferred<void> = deferred()
  /** Completes when the call was reset or its connection went away before the worker had ended it. */
  readonly cancelled: Deferred<number> = deferred()
  readonly closed: Deferred<void> = deferred()
  readonly burstDone: Deferred<void> = deferred()
  /** Completes when the sidecar has taken nothing of the burst for a second. */
  readonly burstStalled: Deferred<void> = deferred()
  readonly #send: (command: Command) => void

  constructor(event: Extract<Event, { event: "call" }>, send: (command: Command) => void) {
    this.id = event.id
    this.path = event.path
    this.authority = event.authority
    this.headers = event.headers
    this.timeoutMillis = event.timeoutMillis
    this.#send = send
  }

  /** Completes with the first request message. */
  request(): Promise<Buffer> {
    return this.requests.first(() => true, "a request message")
  }

  sendHeaders(metadata: Pairs): void {
    this.#send({ op: "headers", id: this.id, metadata })
  }

  send(...messages: ReadonlyArray<Uint8Array>): void {
    this.#send({ op: "messages", id: this.id, messages })
  }

  burst(message: Uint8Array, count: number): void {
    this.#send({ op: "burst", id: this.id, message, count })
  }

  end(code = 0, message = "", trailers: Pairs = []): void {
    this.#send({ op: "end", id: this.id, code, message, trailers })
  }

  /** `count` tokens, the empty last message, OK. */
  answer(count: number, index = 0): void {
    this.send(...tokens(count, index), endOfStream(index + count))
    this.end()
  }

  respond(headers: Readonly<Record<string, string>>, endStream = false): void {
    this.#send({ op: "respond", id: this.id, headers, endStream })
  }

  data(bytes: Uint8Array, endStream = false): void {
    this.#send({ op: "data", id: this.id, bytes, endStream })
  }

  trailers(
    headers: Readonly<Record<string, string | ReadonlyArray<string>>>,
    poison: ReadonlyArray<readonly [string, string]> = []
  ): void {
    this.#send({ op: "trailers", id: this.id, headers, poison })
  }

  reset(code: number): void {
    this.#send({ op: "reset", id: this.id, code })
  }

  goaway(code: number, lastStreamId?: number): void {
    this.#send({ op: "goaway", id: this.id, code, lastStreamId })
  }

  destroyConnection(): void {
    this.#send({ op: "destroy", id: this.id })
  }

  /** FIN: the worker says nothing more on the connection. */
  finishConnection(): void {
    this.#send({ op: "finish", id: this.id })
  }
}

const PREDICT = "/cy.llm.AiInference/StreamPredict"

/** A worker process of its own on a Unix socket. */
export class TestWorker {
  readonly socketPath: string
  readonly #child: ChildProcess
  readonly #calls = new Inbox<WorkerSideCall>()
  readonly #open = new Map<number, WorkerSideCall>()
  readonly #listening = deferred<void>()
  #serve: ((call: WorkerSideCall) => void) | undefined
  readonly exited: Promise<void>
  readonly healthProbes = new Recorder<void>()
  readonly connections = new Recorder<void>()

  private constructor(socketPath: string, engine: WorkerEngine) {
    this.socketPath = socketPath
    this.#child = fork(worker, [engine, socketPath], {
      execPath: nodeBinary,
      execArgv: [],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      env: environment
    })
    this.#child.on("message", (event: Event) => this.#hear(event))
    this.exited = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => {
        const cause = new Error(`the worker has ended (${signal ?? code})`)
        this.#listening.reject(cause)
        this.#calls.fail(cause)
        this.connections.fail(cause)
        this.healthProbes.fail(cause)
        for (const call of this.#open.values()) call.requests.fail(cause)
        resolve()
      })
    })
  }

  static async start(socketPath: string, engine: WorkerEngine = "grpc-js", health?: HealthMode): Promise<TestWorker> {
    const worker = new TestWorker(socketPath, engine)
    if (health !== undefined) worker.setHealth(health)
    await worker.#listening.promise
    return worker
  }

  get pid(): number {
    return this.#child.pid!
  }

  setHealth(mode: HealthMode): void {
    this.#send({ op: "health", mode })
  }

  /** The next call that nobody has taken yet. */
  nextCall(path = PREDICT): Promise<WorkerSideCall> {
    return this.#calls.take((call) => call.path === path)
  }

  /** The call that carries this metadata. */
  callWith(key: string, value: string): Promise<WorkerSideCall> {
    return this.#calls.take((call) => call.headers[key] === value)
  }

  /** From now on every call goes to `serve`; `undefined`: calls wait for a test again. */
  serveWith(serve: ((call: WorkerSideCall) => void) | undefined): void {
    this.#serve = serve
  }

  /** After a test that failed: calls go to the next one, and to it alone. */
  forget(): void {
    this.#serve = undefined
    this.#calls.forget()
  }

  /** Calls that came and were not taken by a test. */
  get untaken(): ReadonlyArray<WorkerSideCall> {
    return this.#calls.left
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** SIGKILL: the socket file stays behind, as it does with a real worker. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL")
    await this.exited
  }

  #send(command: Command): void {
    if (this.#child.connected) this.#child.send(command, () => undefined)
  }

  #hear(event: Event): void {
    switch (event.event) {
      case "listening":
        return this.#listening.resolve()
      case "failed":
        return this.#listening.reject(new Error(event.detail))
      case "connection":
        return this.connections.push()
      case "health":
        return this.healthProbes.push()
      case "call": {
        const call = new WorkerSideCall(event, (command) => this.#send(command))
        this.#open.set(event.id, call)
        return this.#serve === undefined ? this.#calls.offer(call) : this.#serve(call)
      }
      case "message":
        return this.#open.get(event.id)?.requests.push(Buffer.from(event.message))
      case "halfClose":
        return this.#open.get(event.id)?.halfClosed.resolve()
      case "cancelled":
        return this.#open.get(event.id)?.cancelled.resolve(event.code)
      case "burstDone":
        return this.#open.get(event.id)?.burstDone.resolve()
      case "burstStalled":
        return this.#open.get(event.id)?.burstStalled.resolve()
      case "closed":
        this.#open.get(event.id)?.closed.resolve()
        this.#open.delete(event.id)
    }
  }
}
