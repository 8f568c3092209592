import type { CallHandler } from "../../services/GrpcServer.ts"
import type { Metadata, ServerCall, Status } from "../../services/Wire.ts"
import { first } from "../wire/metadata.ts"
import { ForwardedCall } from "./forwardedCall.ts"
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
class LoadReportedCall extends ForwardedCall {
  readonly #trailer: () => Metadata

  constructor(call: ServerCall, trailer: () => Metadata) {
    super(call)
    this.#trailer = trailer
  }

  override end(status: Status, delivery?: "flush" | "now"): void {
    this.call.end({ ...status, metadata: { ...status.metadata, ...this.#trailer() } }, delivery)
  }
}
