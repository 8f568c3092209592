import { version } from "../../version.ts"
import { gauge, type MetricFamily } from "../metricFamily.ts"
import * as CallFigures from "./callFigures.ts"
import * as GatewayFigures from "./gatewayFigures.ts"
import * as LimitFigures from "./limitFigures.ts"
import * as StreamFigures from "./streamFigures.ts"
import * as UsageFigures from "./usageFigures.ts"
import * as WorkerFigures from "./workerFigures.ts"

/** What runs here; no figure. */
export const buildInfo: MetricFamily = {
  ...gauge("sidecar_build_info", "What runs here; the value is always 1.", () => 1),
  labelNames: ["version", "node", "platform"],
  read: () => [{ labels: { version, node: process.versions.node, platform: process.platform }, value: 1 }]
}

/** The figures of one sidecar. `now`: monotonic milliseconds; `wallNow`: milliseconds since the epoch. */
export const make = (now: () => number, wallNow: () => number) => {
  const streams = StreamFigures.make(now, wallNow)
  const calls = CallFigures.make()
  const worker = WorkerFigures.make(now)
  const usage = UsageFigures.make()
  const gateways = GatewayFigures.make()
  const limits = LimitFigures.make()
  return {
    streams: streams.recorder,
    calls: calls.recorder,
    worker: worker.recorder,
    usage: usage.recorder,
    gateways: gateways.recorder,
    limits: limits.recorder,
    families: [streams, calls, worker, usage, gateways, limits].flatMap((one) => one.families)
  }
}
