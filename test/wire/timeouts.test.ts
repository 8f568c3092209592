import { describe, expect, it } from "vitest"
import { collect, trailer } from "../support/gateway.ts"
import { expectBalanced, openLab } from "../support/lab.ts"
import { endOfStream, request, token, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

describe.each(wires)("a worker that hangs, on the %s wire", (wire) => {
  it("is given up when no first token comes within first_token_timeout_secs, though notices do", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_FIRST_TOKEN_TIMEOUT_SECS: "0.5" } })
    const notice = token(0, "[模型加载] 正在检查显存资源...\n")
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(notice)
    const { messages, status } = await collect(call)
    expect(messages).toEqual([notice])
    expect(status.code).toBe(14)
    expect(status.message).toContain("stream idle")
    expect(trailer(status, "cy-reason")).toBe("stream_idle")
    await served.cancelled.promise
    expectBalanced(await lab.sidecar.settled())
  })

  it("is given up when nothing comes for stream_idle_timeout_secs after a token", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_STREAM_IDLE_TIMEOUT_SECS: "0.5" } })
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(2))
    const { messages, status } = await collect(call)
    expect(messages).toEqual(tokens(2))
    expect(status.code).toBe(14)
    expect(status.message).toContain("stream idle")
    expect(trailer(status, "cy-reason")).toBe("stream_idle")
    expect(trailer(status, "cy-chunks-delivered")).toBe("2")
    await served.cancelled.promise
    expectBalanced(await lab.sidecar.settled())
  })

  it("is waited for as long as a message comes within the limit each time", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_STREAM_IDLE_TIMEOUT_SECS: "1" } })
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    for (let at = 0; at < 15; at++) {
      served.send(...tokens(1, at))
      await call.messages.count(at + 1, "a token")
      // A paced worker: this is its rhythm, nothing is waited for.
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    served.send(endOfStream(15))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
  })
})
