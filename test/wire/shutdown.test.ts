import * as fs from "node:fs"
import { describe, expect, it, onTestFinished } from "vitest"
import { collect, reasonOf, trailer } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { emptyLab, openLab } from "../support/lab.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

const exitedWell = { code: 0, signal: null }

describe.each(wires)("a sidecar that is told to stop, on the %s wire", (wire) => {
  it.each(["SIGTERM", "SIGINT", "SIGQUIT"] as const)(
    "lets a running stream end complete after %s, refuses a new call, and exits with 0",
    async (signal) => {
      const lab = await openLab({ wire })
      const address = lab.sidecar.address
      const gateway = lab.rawGateway()
      const call = gateway.call({ requests: [request()] })
      const served = await lab.worker.nextCall()
      served.send(...tokens(2))
      await call.messages.count(2, "tokens")
      lab.sidecar.signal(signal)
      expect((await gateway.goaway.promise).code).toBe(0)
      const late = new GrpcJsGateway(address)
      onTestFinished(() => late.close())
      // It listens no more, or says on a new connection that it drains.
      const refused = await late.call({ requests: [request()] }).status
      expect([[14, undefined], [14, "draining"]]).toContainEqual([refused.code, reasonOf(refused)])
      expect(lab.worker.untaken).toEqual([])
      expect((await lab.sidecar.ready()).status).toBe(503)
      served.send(...tokens(1, 2), endOfStream(3))
      served.end()
      const { messages, status } = await collect(call)
      expect(status.code).toBe(0)
      expect(messages).toEqual([...tokens(3), endOfStream(3)])
      expect(await lab.sidecar.exited).toEqual(exitedWell)
      expect(lab.sidecar.output).not.toMatch(/^\s+at .*\(/m)
    }
  )

  it("ends what still runs at drain_timeout_secs with UNAVAILABLE, and exits with 0", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_DRAIN_TIMEOUT_SECS: "0.3" } })
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(2))
    await call.messages.count(2, "tokens")
    lab.sidecar.signal("SIGTERM")
    const { messages, status } = await collect(call)
    expect(messages).toEqual(tokens(2))
    expect(status.code).toBe(14)
    expect(trailer(status, "cy-reason")).toBe("draining")
    expect(trailer(status, "cy-chunks-delivered")).toBe("2")
    await served.cancelled.promise
    expect(await lab.sidecar.exited).toEqual(exitedWell)
  })

  it.each(["SIGTERM", "SIGQUIT"] as const)("ends at once on %s as the second signal", async (second) => {
    const lab = await openLab({ wire, env: { SIDECAR_DRAIN_TIMEOUT_SECS: "3600" } })
    const gateway = lab.rawGateway()
    const call = gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    lab.sidecar.signal("SIGTERM")
    await gateway.goaway.promise
    expect(lab.sidecar.isRunning).toBe(true)
    lab.sidecar.signal(second)
    expect((await lab.sidecar.exited).code).toBe(second === "SIGTERM" ? 143 : 131)
    await served.cancelled.promise
    expect((await call.status).code).not.toBe(0)
  })

  it("does not end on SIGHUP without a terminal, and not in a drain either", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_DRAIN_TIMEOUT_SECS: "3600" } })
    const gateway = lab.rawGateway()
    const call = gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    lab.sidecar.signal("SIGHUP")
    await lab.sidecar.logs.first((line) => String(line["msg"]).startsWith("configuration read again"), "a reload")
    expect((await lab.sidecar.ready()).status).toBe(200)
    lab.sidecar.signal("SIGTERM")
    await gateway.goaway.promise
    lab.sidecar.signal("SIGHUP")
    // The answer comes after the signal has been handled.
    expect((await lab.sidecar.ready()).status).toBe(503)
    served.send(...tokens(1, 1), endOfStream(2))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
    expect(await lab.sidecar.exited).toEqual(exitedWell)
  })

  it("opens no debugger on SIGUSR1, and nothing else happens", async () => {
    const lab = await openLab({ wire })
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    lab.sidecar.signal("SIGUSR1")
    expect((await lab.sidecar.ready()).status).toBe(200)
    served.send(...tokens(1, 1), endOfStream(2))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
    expect(await lab.sidecar.ready()).toMatchObject({ status: 200, body: { draining: false } })
    expect(lab.sidecar.output).not.toMatch(/debugger/i)
  })

  it("exits with 0 when nothing runs, and without a worker", async () => {
    const lab = await openLab({ wire, worker: false })
    lab.sidecar.signal("SIGTERM")
    expect(await lab.sidecar.exited).toEqual(exitedWell)
  })

  it("exits with 0 beside idle gateways, open health watches and a worker that does not answer", async () => {
    const lab = await openLab({ wire })
    const idle = lab.rawGateway()
    const watch = lab.rawGateway().call({ path: "/grpc.health.v1.Health/Watch", requests: [Buffer.alloc(0)] })
    await watch.messages.count(1, "the first state")
    lab.worker.signal("SIGSTOP")
    lab.sidecar.signal("SIGTERM")
    expect(await lab.sidecar.exited).toEqual(exitedWell)
    await idle.closed.promise
    lab.worker.signal("SIGCONT")
  })

  it("serves on a Unix socket and on several addresses, and takes its socket file away", async () => {
    const lab = emptyLab({ wire })
    const socket = `${lab.folder}/sidecar.sock`
    await lab.startWorker()
    await lab.startSidecar({ env: { SIDECAR_BIND_ADDR: `127.0.0.1:0,unix://${socket}` } })
    await lab.sidecar.connected()
    await lab.sidecar.logs.first((line) => String(line["address"]) === `unix://${socket}`, "the Unix socket's line")
    for (const address of [lab.sidecar.address, `unix://${socket}`]) {
      const gateway = new GrpcJsGateway(address)
      const call = gateway.call({ requests: [request()] })
      ;(await lab.worker.nextCall()).answer(2)
      const { messages, status } = await collect(call)
      expect(status.code).toBe(0)
      expect(messages).toEqual([...tokens(2), endOfStream(2)])
      gateway.close()
    }
    lab.sidecar.signal("SIGTERM")
    expect(await lab.sidecar.exited).toEqual(exitedWell)
    expect(fs.existsSync(socket)).toBe(false)
  })
})
