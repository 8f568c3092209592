import type { CallHandler } from "../../services/GrpcServer.ts"
import type { FrameBatch, Metadata, ServerCall, Status } from "../../services/Wire.ts"
import { first } from "../wire/metadata.ts"
import type { LoadFormat, LoadReports } from "./loadReport.ts"

/** Request metadata by which a caller asks for a report in the trailers of its call. */
const ASKED = "endpoint-load-metrics-format"

/** Who gets a report with a stream: those who ask, or all. `off`: nobody, and the service is not there. */
export type LoadReporting = "asked" | "always" | "off"

const formatOf = (metadata: Metadata, reporting: LoadReporting): LoadFormat | undefined => {
  if (reporting === "off") return undefined
  const asked = first(metadata, ASKED)?.trim().toLowerCase()
  if (asked === "text" || asked === "json") return asked
  return asked !== undefined || reporting === "always" ? "bin" : undefined
}

/** A handler whose calls end with a load report in their trailers. */
export const withLoadReport =
  (reports: LoadReports, reporting: () => LoadReporting, handler: CallHandler): CallHandler => (call) => {
    const format = formatOf(call.metadata, reporting())
    return handler(format === undefined ? call : new LoadReportedCall(call, () => reports.trailer(format)))
  }

/** A call whose status carries one trailer more. */
class LoadReportedCall implements ServerCall {
  readonly #call: ServerCall
  readonly #trailer: () => Metadata

  constructor(call: ServerCall, trailer: () => Metadata) {
    this.#call = call
    this.#trailer = trailer
  }

  end(status: Status, delivery?: "flush" | "now"): void {
    this.#call.end({ ...status, metadata: { ...status.metadata, ...this.#trailer() } }, delivery)
  }

  get path(): string {
    return this.#call.path
  }
  get metadata(): Metadata {
    return this.#call.metadata
  }
  get timeoutMillis(): number | undefined {
    return this.#call.timeoutMillis
  }
  get arrivedAt(): number {
    return this.#call.arrivedAt
  }
  get encoding(): string | undefined {
    return this.#call.encoding
  }
  get peer(): ServerCall["peer"] {
    return this.#call.peer
  }
  get takesSingleFrames(): boolean | undefined {
    return this.#call.takesSingleFrames
  }
  get pendingBytes(): number {
    return this.#call.pendingBytes
  }
  get requests(): ServerCall["requests"] {
    return this.#call.requests
  }
  ready(): boolean {
    return this.#call.ready()
  }
  get isHalfClosed(): boolean {
    return this.#call.isHalfClosed
  }
  get writable(): ServerCall["writable"] {
    return this.#call.writable
  }
  sendHeaders(metadata: Metadata, encoding?: string): void {
    this.#call.sendHeaders(metadata, encoding)
  }
  write(batch: FrameBatch): boolean {
    return this.#call.write(batch)
  }
}
