import { jetstreamManager, type StreamConfig } from "@nats-io/jetstream"
import { connect, type NatsConnection } from "@nats-io/transport-node"
import { type ChildProcess, spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { createInterface } from "node:readline"
import type { UsageRecord } from "../../src/services/UsageRecord.ts"
import { eventually } from "./events.ts"

/** Debian's `nats-server`; `undefined` where it is not installed. */
const binary = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/local/bin"]
  .map((folder) => path.join(folder, "nats-server"))
  .find((file) => fs.existsSync(file))

/** Whether the tests that need it can run. */
export const hasNatsServer = binary !== undefined

/** Added to the names of tests that have to be skipped. */
export const withoutNats = hasNatsServer ? "" : " (skipped: nats-server is not installed)"

/** A message as the stream holds it. */
export interface Stored {
  readonly id: string
  readonly subject: string
  readonly contentType: string
  readonly text: string
}

/** A real NATS server with JetStream, a folder and a port of its own, which it keeps when it is started again. */
export class NatsServer {
  readonly folder = fs.mkdtempSync(path.join(os.tmpdir(), "nats-"))
  readonly #lines: ReadonlyArray<string>
  #child: ChildProcess | undefined
  #port = -1

  /** `lines`: of its configuration, beside port and store. */
  constructor(lines: ReadonlyArray<string> = []) {
    this.#lines = lines
  }

  static async start(lines: ReadonlyArray<string> = []): Promise<NatsServer> {
    const server = new NatsServer(lines)
    await server.start()
    return server
  }

  get address(): string {
    return `127.0.0.1:${this.#port}`
  }

  /** Starts it, on the port that it had before. */
  async start(lines = this.#lines): Promise<void> {
    if (binary === undefined) throw new Error("nats-server is not installed")
    const config = path.join(this.folder, "nats.conf")
    const store = lines.some((line) => line.startsWith("jetstream")) ? [] : [`jetstream { store_dir: "${this.store}" }`]
    fs.writeFileSync(config, [`listen: "127.0.0.1:${this.#port}"`, ...store, ...lines].join("\n"))
    const child = spawn(binary, ["-c", config], { stdio: ["ignore", "ignore", "pipe"] })
    this.#child = child
    const output: Array<string> = []
    await new Promise<void>((resolve, reject) => {
      createInterface({ input: child.stderr }).on("line", (line) => {
        output.push(line)
        const port = /Listening for client connections on .*:(\d+)$/.exec(line)
        if (port !== null) this.#port = Number(port[1])
        if (line.includes("Server is ready")) resolve()
      })
      child.once("close", (code) => reject(new Error(`nats-server has ended (${code}):\n${output.join("\n")}`)))
      child.once("error", reject)
    })
  }

  /** Where JetStream keeps its messages. */
  get store(): string {
    return path.join(this.folder, "store")
  }

  /** `kill -9`, or another signal; completes when it is dead. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return
    const gone = new Promise((resolve) => child.once("close", resolve))
    child.kill(signal)
    await gone
  }

  /** Stops it for a while, as a host that hangs. */
  signal(signal: NodeJS.Signals): void {
    this.#child?.kill(signal)
  }

  async close(): Promise<void> {
    await this.kill()
    fs.rmSync(this.folder, { recursive: true, force: true })
  }

  async #with<A>(use: (connection: NatsConnection) => Promise<A>, credentials: Credentials): Promise<A> {
    const connection = await connect({ servers: this.address, reconnect: false, ...credentials })
    try {
      return await use(connection)
    } finally {
      await connection.close()
    }
  }

  /** Makes the stream, or changes it. */
  stream(config: Partial<StreamConfig> & { readonly name: string }, credentials: Credentials = {}): Promise<void> {
    return this.#with(async (connection) => {
      const manager = await jetstreamManager(connection)
      const known = await manager.streams.info(config.name).catch(() => undefined)
      if (known === undefined) await manager.streams.add(config)
      else await manager.streams.update(config.name, { ...known.config, ...config })
    }, credentials)
  }

  /** All that the stream holds, oldest first. */
  stored(name: string, credentials: Credentials = {}): Promise<ReadonlyArray<Stored>> {
    return this.#with(async (connection) => {
      const manager = await jetstreamManager(connection)
      const { state } = await manager.streams.info(name)
      const found: Array<Stored> = []
      for (let seq = state.first_seq; state.messages > 0 && seq <= state.last_seq; seq++) {
        const message = await manager.streams.getMessage(name, { seq })
        if (message === null) continue
        found.push({
          id: message.header.get("Nats-Msg-Id"),
          subject: message.subject,
          contentType: message.header.get("Content-Type"),
          text: message.string()
        })
      }
      return found
    }, credentials)
  }

  /** Waits until the stream holds so many messages; those. */
  async holds(name: string, count: number, credentials: Credentials = {}): Promise<ReadonlyArray<Stored>> {
    return await eventually(`${count} messages in ${name}`, async () => {
      const found = await this.stored(name, credentials)
      return found.length >= count ? found : undefined
    })
  }
}

interface Credentials {
  readonly user?: string
  readonly pass?: string
  readonly token?: string
}

/** Tokens of records in a stream. */
export const tokensIn = (messages: ReadonlyArray<Stored>): number =>
  messages.reduce((sum, { text }) => {
    const record: UsageRecord = JSON.parse(text)
    return sum + record.tokens_generated
  }, 0)
