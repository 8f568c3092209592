import * as grpc from "@grpc/grpc-js"
import { describe, expect, it, onTestFinished } from "vitest"
import { deferred, eventually, Recorder } from "../support/events.ts"
import { collect, PREDICT, trailer } from "../support/gateway.ts"
import { type Lab, useLab } from "../support/lab.ts"
import { type LoadReport, loadReportRequest, readLoadReport } from "../support/orca.ts"
import { request } from "../support/protobuf.ts"

const STREAM = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
const HEALTH = { kv_cache_usage_perc: "0.5", num_requests_waiting: "2", backend: "vllm" }

/** The reports of a sidecar, by grpc-js. */
const follow = (lab: Lab): Recorder<LoadReport> => {
  const client = new grpc.Client(lab.sidecar.address, grpc.credentials.createInsecure())
  const reports = new Recorder<LoadReport>()
  const call = client.makeServerStreamRequest(
    STREAM,
    (bytes: Uint8Array) => Buffer.from(bytes),
    readLoadReport,
    loadReportRequest(1)
  )
  call.on("data", (report: LoadReport) => reports.push(report))
  call.on("error", (cause: Error) => reports.fail(cause))
  onTestFinished(() => {
    call.cancel()
    client.close()
  })
  return reports
}

/** A stream that stays at the worker. */
const occupy = async (lab: Lab): Promise<() => Promise<void>> => {
  const call = lab.gateway.call({ requests: [request()] })
  const atWorker = await lab.worker.nextCall()
  return async () => {
    atWorker.answer(1)
    expect((await collect(call)).status.code).toBe(0)
  }
}

const settings = { env: { SIDECAR_MAX_WORKER_STREAMS: "9", SIDECAR_LOAD_REPORTS: "always" } }

describe("load reports", () => {
  const [busy, free] = [useLab(settings), useLab(settings)]

  /** Takes eight of the nine places of one worker, and one of the other; then both answer at once and tell who they are. */
  const unequal = async (): Promise<
    { readonly served: Array<"busy" | "free">; readonly release: () => Promise<void> }
  > => {
    const served: Array<"busy" | "free"> = []
    const releases: Array<() => Promise<void>> = []
    for (const [name, lab, places] of [["busy", busy(), 8], ["free", free(), 1]] as const) {
      for (let n = 0; n < places; n++) releases.push(await occupy(lab))
      lab.worker.serveWith((call) => {
        served.push(name)
        call.answer(1)
      })
    }
    return {
      served,
      release: async () => {
        for (const release of releases) await release()
        for (const lab of [busy(), free()]) lab.worker.serveWith(undefined)
      }
    }
  }
  const both = () => `ipv4:${[busy(), free()].map((lab) => lab.sidecar.address).join(",")}`
  const share = (served: ReadonlyArray<string>) => served.filter((name) => name === "free").length

  it("are read by grpc-js, from a stream's trailers and out-of-band", async () => {
    const lab = busy()
    lab.worker.setHealth({ kind: "answer", healthy: true, metrics: HEALTH })
    const health = lab.gateway.call({ path: "/cy.llm.AiInference/Health", requests: [Buffer.alloc(0)] })
    expect((await health.status).code).toBe(0)
    const reports = follow(lab)
    const release = await occupy(lab)
    const full = await reports.first(({ namedMetrics }) => namedMetrics["in_flight"] === 1, "a report with a stream")
    expect(full.applicationUtilization).toBe(1 / 9)
    expect(full.utilization).toEqual({ "worker.kv_cache_usage_perc": 0.5 })
    expect(full.namedMetrics).toMatchObject({ held: 0, queued: 0, "worker.num_requests_waiting": 2 })

    const call = lab.gateway.call({ requests: [request()] })
    ;(await lab.worker.nextCall()).answer(3)
    const { status } = await collect(call)
    expect(status.code).toBe(0)
    const told = readLoadReport(Buffer.from(trailer(status, "endpoint-load-metrics-bin") ?? "", "base64"))
    expect(told.namedMetrics["in_flight"]).toBeGreaterThanOrEqual(1)
    await release()
    const ended = await reports.first(({ rpsFractional }) => rpsFractional > 0, "a report with streams that ended")
    expect(ended.eps).toBe(0)
    expect(ended.namedMetrics["tokens_per_second"]).toBeGreaterThan(0)
  })

  it("weigh two sidecars in grpc-js's weighted round robin, out-of-band", async () => {
    const { release, served } = await unequal()
    const client = new grpc.Client(both(), grpc.credentials.createInsecure(), {
      "grpc.service_config": JSON.stringify({
        loadBalancingConfig: [{
          weighted_round_robin: {
            enable_oob_load_report: true,
            oob_load_reporting_period: "1s",
            blackout_period: "0s",
            weight_update_period: "0.1s"
          }
        }]
      })
    })
    onTestFinished(() => client.close())
    const predict = (): Promise<number> => {
      const ended = deferred<number>()
      const call = client.makeBidiStreamRequest(PREDICT, (bytes: Buffer) => bytes, (bytes: Buffer) => bytes)
      call.on("data", () => undefined)
      call.on("error", () => undefined)
      call.on("status", ({ code }: grpc.StatusObject) => ended.resolve(code))
      call.end(request())
      return ended.promise
    }
    await eventually("most streams go where there is room", async () => {
      const from = served.length
      for (let n = 0; n < 20; n++) expect(await predict()).toBe(0)
      return share(served.slice(from)) >= 15 ? true : undefined
    })
    await release()
  })
})
