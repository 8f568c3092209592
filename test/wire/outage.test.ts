import * as fs from "node:fs"
import * as net from "node:net"
import { describe, expect, it, onTestFinished } from "vitest"
import { collect, detailsOf, type FinalStatus, reasonOf, trailer } from "../support/gateway.ts"
import { emptyLab, expectBalanced, type Lab, moved, openLab } from "../support/lab.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"
import { TestWorker } from "../support/testWorker.ts"

/** A refusal that a gateway's library understands: at once, and with the time to come back. */
const expectRetryHint = (status: FinalStatus): void => {
  expect(status).toMatchObject({ code: 14, trailersOnly: true })
  expect(status.message).toMatch(/^Worker is restarting, please retry in \d+s$/)
  expect(trailer(status, "cy-reason")).toMatch(/^worker_/)
  const pushback = Number(trailer(status, "grpc-retry-pushback-ms"))
  expect(Number.isInteger(pushback)).toBe(true)
  expect(pushback).toBeGreaterThan(0)
  const details = detailsOf(status)
  expect(details).toMatchObject({ code: 14, message: status.message, retryMillis: pushback })
}

const refused = async (lab: Lab): Promise<void> => {
  expectRetryHint(await lab.newGateway().call({ requests: [request()] }).status)
}

const served = async (lab: Lab): Promise<void> => {
  const call = lab.newGateway().call({ requests: [request()] })
  const atWorker = await lab.worker.nextCall()
  atWorker.answer(3)
  const { messages, status } = await collect(call)
  expect(status).toMatchObject({ code: 0 })
  expect(messages).toEqual([...tokens(3), endOfStream(3)])
}

/** So long that only the watch on the socket's folder can bring a worker back within a test. */
const WATCHED = { SIDECAR_RECONNECT_DELAY_SECS: "3600" }

/** Something else than a worker that listens on the worker's path. */
const impostor = async (lab: Lab, onConnection: (socket: net.Socket) => void): Promise<net.Server> => {
  const server = net.createServer((socket) => {
    socket.on("error", () => undefined)
    onConnection(socket)
  })
  fs.rmSync(lab.socketPath, { force: true })
  await new Promise<void>((resolve) => server.listen(lab.socketPath, resolve))
  onTestFinished(() => void server.close())
  return server
}

describe.each(wires)("a worker that goes and comes, on the %s wire", (wire) => {
  it("is killed in mid-stream: what came is delivered and counted, the status is 0 at once, the next call fails at once, the next worker serves", async () => {
    const lab = await openLab({ wire, env: WATCHED })
    const pid = lab.sidecar.pid
    const call = lab.gateway.call({ requests: [request()] })
    const atWorker = await lab.worker.nextCall()
    atWorker.send(...tokens(7))
    await call.messages.count(7, "tokens")
    await lab.worker.kill()
    const { messages, status } = await collect(call)
    const after = await lab.sidecar.metrics()
    expect(after.get("sidecar_worker_connection_status")).toBe(0)
    expect(messages).toEqual(tokens(7))
    expect(status).toMatchObject({ code: 14, message: "Worker connection lost after 7 tokens" })
    expect(trailer(status, "cy-reason")).toBe("worker_lost")
    expect(trailer(status, "cy-chunks-delivered")).toBe("7")
    expect(trailer(status, "cy-safe-to-retry")).toBe("false")
    expect(after.get("sidecar_tokens_processed_total")).toBe(7)
    expect(after.get("sidecar_worker_connection_errors_total")).toBeGreaterThan(0)
    await refused(lab)
    expect((await lab.sidecar.ready()).status).toBe(503)

    await lab.startWorker()
    await lab.sidecar.connected()
    await served(lab)
    const end = await lab.sidecar.settled()
    expectBalanced(end)
    expect(end.get("sidecar_requests_success_total")).toBe(1)
    expect(end.get("sidecar_requests_failed_total")).toBe(2)
    expect(end.get("sidecar_worker_connection_status")).toBe(1)
    expect(lab.sidecar.pid).toBe(pid)
  })

  it("is killed with many streams open: each learns its own count", async () => {
    const lab = await openLab({ wire, env: WATCHED })
    const calls = Array.from(
      { length: 20 },
      (_, at) => lab.gateway.call({ metadata: [["x-n", String(at)]], requests: [request()] })
    )
    await Promise.all(calls.map(async (call, at) => {
      const atWorker = await lab.worker.callWith("x-n", String(at))
      atWorker.send(...tokens(at + 1))
      await call.messages.count(at + 1, "tokens")
    }))
    await lab.worker.kill()
    const ends = await Promise.all(calls.map(collect))
    ends.forEach(({ messages, status }, at) => {
      expect(messages).toEqual(tokens(at + 1))
      expect([status.code, reasonOf(status)]).toEqual([14, "worker_lost"])
      expect(trailer(status, "cy-chunks-delivered")).toBe(String(at + 1))
    })
    expectBalanced(await lab.sidecar.settled())
  })

  it("is OK for a stream whose end_of_stream had come when the worker was killed", async () => {
    const lab = await openLab({ wire, env: WATCHED })
    const call = lab.gateway.call({ requests: [request()] })
    const atWorker = await lab.worker.nextCall()
    atWorker.send(...tokens(3), endOfStream(3))
    await call.messages.count(4, "the answer")
    await lab.worker.kill()
    expect((await collect(call)).status.code).toBe(0)
    const figures = await lab.sidecar.settled()
    expectBalanced(figures)
    expect(figures.get("sidecar_requests_success_total")).toBe(1)
  })

  it("is absent at first: the sidecar serves, says so, and connects when the worker comes", async () => {
    const lab = await openLab({ wire, worker: false, env: WATCHED })
    expect(await lab.sidecar.log("worker not connected (SocketMissing)")).toBeDefined()
    expect((await lab.sidecar.ready()).status).toBe(503)
    expect((await lab.sidecar.get("/healthz")).status).toBe(200)
    expect((await lab.sidecar.metrics()).get("sidecar_worker_connection_status")).toBe(0)
    await refused(lab)
    await lab.startWorker()
    await lab.sidecar.connected()
    await served(lab)
    expectBalanced(await lab.sidecar.settled())
  })

  it("has left a stale socket file behind: told apart, and replaced by the next worker", async () => {
    const lab = emptyLab({ wire, env: WATCHED })
    await (await TestWorker.start(lab.socketPath)).kill()
    expect(fs.existsSync(lab.socketPath)).toBe(true)
    const sidecar = await lab.startSidecar()
    expect(await sidecar.log("worker not connected (ConnectionRefused)")).toBeDefined()
    await lab.startWorker()
    await sidecar.connected()
  })

  it("is no socket at all: told apart", async () => {
    const lab = emptyLab({ wire, env: WATCHED })
    fs.writeFileSync(lab.socketPath, "not a socket")
    const sidecar = await lab.startSidecar()
    expect(await sidecar.log("worker not connected (NotASocket)")).toBeDefined()
    await lab.startWorker()
    await sidecar.connected()
  })

  // Only root can become somebody else, and only for somebody else than root is there such a thing as a permission.
  it.runIf(process.getuid?.() === 0)("has a socket without permission: told apart, with the remedy", async () => {
    const nobody = 65_534
    const lab = emptyLab({ wire, env: WATCHED })
    fs.chmodSync(lab.folder, 0o777)
    await lab.startWorker()
    fs.chmodSync(lab.socketPath, 0o600)
    const sidecar = await lab.startSidecar({ uid: nobody, gid: nobody })
    const line = await sidecar.log("worker not connected (PermissionDenied)")
    expect(JSON.stringify(line)).toContain("worker_uds")
    expect((await sidecar.ready()).status).toBe(503)
    fs.chmodSync(lab.socketPath, 0o666)
    await sidecar.connected()
  })

  it("answers, but not gRPC: told apart", async () => {
    const lab = await openLab({ wire, worker: false, env: WATCHED })
    await impostor(lab, (socket) => {
      socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"))
    })
    expect(await lab.sidecar.log("worker not connected (NotGrpc)")).toBeDefined()
    await lab.startWorker()
    await lab.sidecar.connected()
    await served(lab)
  })

  it("accepts and never answers: given up in check_timeout_secs, and a new worker on the same path is served at once", async () => {
    const lab = await openLab({ wire, worker: false, env: { ...WATCHED, SIDECAR_CHECK_TIMEOUT_SECS: "0.3" } })
    let accepted = 0
    await impostor(lab, () => accepted++)
    expect(await lab.sidecar.log("worker not connected (DialTimeout)")).toBeDefined()
    expect(accepted).toBeGreaterThan(0)
    await refused(lab)
    await lab.startWorker()
    await lab.sidecar.connected()
    await served(lab)
  })

  it("is replaced while the old one lives: new streams go to the new one, the old one's stream ends complete", async () => {
    const lab = await openLab({ wire, env: WATCHED })
    const old = lab.worker
    const call = lab.gateway.call({ metadata: [["x-who", "old"]], requests: [request()] })
    const atOld = await old.nextCall()
    atOld.send(...tokens(2))
    await call.messages.count(2, "tokens")
    const next = await lab.startWorker()
    // The first probe proves the new worker; the second comes when it has taken over.
    await next.healthProbes.count(2, "probes of the new worker")
    await served(lab)
    atOld.send(endOfStream(2))
    atOld.end()
    expect((await collect(call)).status.code).toBe(0)
    expectBalanced(await lab.sidecar.settled())
  })

  it("says that it is not healthy: new streams are refused, running ones go on", async () => {
    const lab = await openLab({ wire, env: { SIDECAR_CHECK_INTERVAL_SECS: "0.1" } })
    const call = lab.gateway.call({ requests: [request()] })
    const atWorker = await lab.worker.nextCall()
    atWorker.send(...tokens(1))
    await call.messages.count(1, "a token")
    lab.worker.setHealth({ kind: "answer", healthy: false, metrics: {} })
    await lab.sidecar.connected(false)
    expect((await lab.sidecar.metrics()).get("sidecar_worker_connection_status")).toBe(0)
    expectRetryHint(await lab.newGateway().call({ requests: [request()] }).status)
    atWorker.send(endOfStream(1))
    atWorker.end()
    expect((await collect(call)).status.code).toBe(0)
    lab.worker.setHealth({ kind: "answer", healthy: true, metrics: {} })
    await lab.sidecar.connected()
    await served(lab)
  })

  it("is not ready before it has answered Health with healthy = true", async () => {
    const lab = await openLab({ wire, worker: false, env: { SIDECAR_CHECK_INTERVAL_SECS: "0.1" } })
    await lab.startWorker({ kind: "answer", healthy: false, metrics: {} })
    await lab.worker.healthProbes.count(2, "probes")
    expect((await lab.sidecar.ready()).status).toBe(503)
    await refused(lab)
    lab.worker.setHealth({ kind: "answer", healthy: true, metrics: {} })
    await lab.sidecar.connected()
    await served(lab)
  })

  it("survives a worker that is killed ten times in a row", async () => {
    // The circuit breaker has its own tests.
    const lab = await openLab({ wire, env: { ...WATCHED, SIDECAR_TRIP_AFTER: "1000" } })
    const before = await lab.sidecar.metrics()
    for (let round = 0; round < 10; round++) {
      const call = lab.gateway.call({ requests: [request()] })
      const atWorker = await lab.worker.nextCall()
      atWorker.send(...tokens(2))
      await call.messages.count(2, "tokens")
      await lab.worker.kill()
      const status = await call.status
      expect([status.code, reasonOf(status), trailer(status, "cy-chunks-delivered")]).toEqual([14, "worker_lost", "2"])
      await lab.startWorker()
      await lab.sidecar.connected()
    }
    await served(lab)
    const after = await lab.sidecar.settled()
    expectBalanced(after)
    expect(moved(before, after, "sidecar_requests_failed_total")).toBe(10)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(23)
  })
})
