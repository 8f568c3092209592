import * as http from "node:http"
import type { AddressInfo } from "node:net"
import type { UsageRecord } from "../../src/services/UsageRecord.ts"
import { Recorder } from "./events.ts"

/** A report as it came. */
export interface Report {
  readonly batchId: string
  readonly key: string
  readonly sidecarId: string
  readonly records: ReadonlyArray<UsageRecord>
  readonly body: string
}

/**
 * What the service does with a report: `silence` never answers; `break` takes the records and then closes the connection
 * without a word.
 */
export type Behaviour =
  | { readonly kind: "answer"; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  | { readonly kind: "silence" }
  | { readonly kind: "break" }

export const status = (code: number, headers: Readonly<Record<string, string>> = {}): Behaviour => ({
  kind: "answer",
  status: code,
  headers
})

/** A billing service on a port of its own that counts each `record_id` once. */
export class BillingServer {
  /** Every report that came, in order. */
  readonly reports = new Recorder<Report>()
  /** Records that were taken, by `record_id`. */
  readonly accepted = new Map<string, UsageRecord>()
  /** Records that came again after they had been taken. */
  repeated = 0
  readonly #server: http.Server
  #behave: (report: Report, number: number) => Behaviour = () => status(200)
  #changed: Array<() => void> = []

  private constructor() {
    this.#server = http.createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => this.#take(request, response, Buffer.concat(parts).toString()))
    })
  }

  static async start(): Promise<BillingServer> {
    const service = new BillingServer()
    await new Promise<void>((resolve) => service.#server.listen(0, "127.0.0.1", resolve))
    return service
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://127.0.0.1:${port}/v1/usage`
  }

  /** From now on. `number` counts reports from 1. */
  behave(behave: (report: Report, number: number) => Behaviour): void {
    this.#behave = behave
  }

  /** Tokens of everything that was taken. */
  get tokens(): number {
    let sum = 0
    for (const record of this.accepted.values()) sum += record.tokens_generated
    return sum
  }

  /** Completes when what was taken satisfies the test. */
  async until(wanted: () => boolean): Promise<void> {
    while (!wanted()) await new Promise<void>((resolve) => this.#changed.push(resolve))
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #take(request: http.IncomingMessage, response: http.ServerResponse, body: string): void {
    const { batch_id, records, sidecar_id } = JSON.parse(body)
    const report = {
      batchId: batch_id,
      key: String(request.headers["idempotency-key"]),
      sidecarId: sidecar_id,
      records,
      body
    }
    this.reports.push(report)
    const behaviour = this.#behave(report, this.reports.all.length)
    if (behaviour.kind === "silence") return
    if (behaviour.kind === "break" || (behaviour.status >= 200 && behaviour.status < 300)) {
      for (const record of report.records) {
        if (this.accepted.has(record.record_id)) this.repeated++
        this.accepted.set(record.record_id, record)
      }
    }
    for (const wake of this.#changed.splice(0)) wake()
    if (behaviour.kind === "break") return void request.socket.destroy()
    response.writeHead(behaviour.status, behaviour.headers ?? {}).end(JSON.stringify({ said: behaviour.status }))
  }
}
