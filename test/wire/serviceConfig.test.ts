import * as fs from "node:fs"
import * as path from "node:path"
import { describe, expect, it, onTestFinished } from "vitest"
import { eventually } from "../support/events.ts"
import { collect } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { emptyLab, moved } from "../support/lab.ts"
import { root } from "../support/node.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"

describe("the service config of the manifests", () => {
  it("has a gateway's library come back after a refusal by itself, when the hint says", async () => {
    const lab = await emptyLab({ worker: false, env: { SIDECAR_RECONNECT_DELAY_SECS: "0.3" } }).open()
    const before = await lab.sidecar.metrics()
    const gateway = new GrpcJsGateway(lab.sidecar.address, {
      "grpc.enable_retries": 1,
      "grpc.service_config": fs.readFileSync(path.join(root, "deploy/helm/files/service-config.json"), "utf8"),
      "grpc.service_config_disable_resolution": 1
    })
    onTestFinished(() => gateway.close())
    const call = gateway.call({ requests: [request()] })
    const refusals = "sidecar_refusals_total{reason=\"worker_disconnected\"}"
    await eventually("a refusal", async () => moved(before, await lab.sidecar.metrics(), refusals) > 0 || undefined)
    await lab.startWorker()
    const atWorker = await lab.worker.nextCall()
    atWorker.answer(3)
    const { messages, status } = await collect(call)
    expect(status).toMatchObject({ code: 0 })
    expect(messages).toEqual([...tokens(3), endOfStream(3)])
    expect(moved(before, await lab.sidecar.settled(), "sidecar_requests_success_total")).toBe(1)
  })
})
