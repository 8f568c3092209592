import { describe, expect, it } from "vitest"
import { collect } from "../support/gateway.ts"
import { moved, useLab } from "../support/lab.ts"
import { endOfStream, field, request, token, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

describe.each(wires)("the token counter on the %s wire", (wire) => {
  const lab = useLab({ wire })

  /** How far the counter moves for a stream of these messages. */
  const counted = async (...messages: ReadonlyArray<Buffer>): Promise<number> => {
    const before = await lab().sidecar.metrics()
    const call = lab().gateway.call({ requests: [request()] })
    const served = await lab().worker.nextCall()
    served.send(...messages)
    served.end()
    const { messages: got, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(got).toEqual(messages)
    const after = await lab().sidecar.settled()
    expect(moved(before, after, "sidecar_requests_success_total")).toBe(1)
    expect(moved(before, after, "sidecar_request_duration_seconds_count")).toBe(1)
    return moved(before, after, "sidecar_tokens_processed_total")
  }

  it("moves by exactly 10 for 10 tokens, 5 notices and the empty last message", async () => {
    const notices = Array.from({ length: 5 }, (_, at) => token(at, `[模型加载] 正在检查显存资源... ${at}\n`))
    expect(await counted(...notices, ...tokens(10, 5), endOfStream(15))).toBe(10)
  })

  it("counts a notice only by the start of its chunk", async () => {
    expect(await counted(token(0, "see [模型加载]"), token(1, "[模型加载"), endOfStream(2))).toBe(2)
  })

  it("counts a last message that has a chunk, and no empty one before it", async () => {
    expect(await counted(token(0, "a"), token(1, ""), token(2, "b", { end: true }))).toBe(2)
  })

  it("carries a message that is not valid protobuf without counting it", async () => {
    const garbage = Buffer.concat([field.string(2, "x").subarray(0, 2), Buffer.from([0xff, 0xff, 0xff])])
    expect(await counted(garbage, token(1, "a"), endOfStream(2))).toBe(1)
  })

  it("moves by nothing for an answer of notices alone", async () => {
    expect(await counted(token(0, "[模型加载] 1"), endOfStream(1))).toBe(0)
  })
})

describe("the metrics of a sidecar that has just started", () => {
  const lab = useLab({})

  it("show the nine names of the quick start at 0", async () => {
    const figures = await lab().sidecar.metrics()
    for (
      const name of [
        "sidecar_requests_total",
        "sidecar_requests_success_total",
        "sidecar_requests_failed_total",
        "sidecar_request_duration_seconds_count",
        "sidecar_tokens_processed_total",
        "sidecar_worker_connection_errors_total",
        "sidecar_gateway_send_errors_total",
        "sidecar_active_connections",
        "sidecar_requests_cancelled_total"
      ]
    ) expect([name, figures.get(name)]).toEqual([name, 0])
    expect(figures.get("sidecar_worker_connection_status")).toBe(1)
    expect(figures.get("sidecar_worker_status{state=\"connected\"}")).toBe(1)
    expect(figures.text).toContain("sidecar_build_info{")
    expect(figures.text).toContain("nodejs_")
  })
})
