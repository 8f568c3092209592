import { loadSync, type MethodDefinition } from "@grpc/proto-loader"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"

/** A report as a client reads it; absent fields are 0. */
export interface LoadReport {
  readonly cpuUtilization: number
  readonly rpsFractional: number
  readonly eps: number
  readonly applicationUtilization: number
  readonly utilization: Readonly<Record<string, number>>
  readonly namedMetrics: Readonly<Record<string, number>>
}

/** The public definitions of ORCA that grpc-js brings along, not ours. */
const folder = join(dirname(createRequire(import.meta.url).resolve("@grpc/grpc-js/package.json")), "proto")

const service = loadSync("xds/service/orca/v3/orca.proto", {
  defaults: true,
  objects: true,
  longs: Number,
  includeDirs: [join(folder, "xds"), join(folder, "protoc-gen-validate")]
})["xds.service.orca.v3.OpenRcaService"]

const method = (): MethodDefinition<object, object> => {
  const found = service === undefined || "format" in service ? undefined : service["StreamCoreMetrics"]
  if (found === undefined) throw new Error("no StreamCoreMetrics")
  return found
}

const isReport = (value: object): value is LoadReport => "applicationUtilization" in value && "namedMetrics" in value

export const readLoadReport = (bytes: Uint8Array): LoadReport => {
  const report = method().responseDeserialize(Buffer.from(bytes))
  if (!isReport(report)) throw new Error("no report")
  return report
}

export const loadReportRequest = (seconds: number, nanos = 0): Uint8Array =>
  method().requestSerialize({ reportInterval: { seconds, nanos } })
