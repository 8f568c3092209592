import { execFileSync, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import * as tls from "node:tls"
import { describe, expect, it, onTestFinished } from "vitest"
import { collect } from "../support/gateway.ts"
import { type Lab, openLab } from "../support/lab.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { fixture, secureGateway } from "../support/twins/tls.ts"

const TLS = { SIDECAR_TLS_CERT: fixture("server.crt"), SIDECAR_TLS_KEY: fixture("server.key") }

const endpoint = (lab: Lab): { host: string; port: number } => {
  const [host = "", port] = lab.sidecar.address.split(":")
  return { host, port: Number(port) }
}

/** Sends bytes, and gives all that comes back until the other side closes. */
const exchange = async (lab: Lab, bytes: string | Uint8Array): Promise<string> => {
  const { host, port } = endpoint(lab)
  const socket = net.connect(port, host)
  onTestFinished(() => void socket.destroy())
  let heard = ""
  socket.on("data", (chunk) => (heard += chunk.toString("latin1")))
  socket.on("error", () => undefined)
  socket.write(bytes)
  await once(socket, "close")
  return heard
}

const closedWith = (lab: Lab, code: string) =>
  lab.sidecar.figures(
    `a connection closed with ${code}`,
    (figures) => (figures.find(`sidecar_http2_sessions_closed_total{code="${code}"}`) ?? 0) > 0
  )

/** The name in the certificate that a new connection is shown. */
const shownName = async (lab: Lab): Promise<string> => {
  const { host, port } = endpoint(lab)
  const socket = tls.connect({
    host,
    port,
    ca: fs.readFileSync(fixture("ca.crt")),
    ALPNProtocols: ["h2"],
    rejectUnauthorized: false
  })
  onTestFinished(() => void socket.destroy())
  socket.on("error", () => undefined)
  await once(socket, "secureConnect")
  const name: unknown = socket.getPeerCertificate().subject.CN
  socket.destroy()
  return String(name)
}

describe("a connection that is not a gateway's", () => {
  it("that speaks HTTP/1 gets one line that a person can read, and is counted", async () => {
    const lab = await openLab({})
    for (const method of ["GET", "POST", "PUT", "OPTIONS"]) {
      const heard = await exchange(lab, `${method} / HTTP/1.1\r\nhost: x\r\n\r\n`)
      expect(heard).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/)
      expect(heard).toMatch(/\r\n\r\nThis port speaks gRPC \(HTTP\/2\)[^\n]*\n$/)
    }
    expect((await closedWith(lab, "http1")).get("sidecar_http2_sessions_closed_total{code=\"http1\"}")).toBe(4)
  })

  it("that begins a TLS handshake on the plain port is closed without an answer, and counted", async () => {
    const lab = await openLab({})
    expect(await exchange(lab, Buffer.from("16030100c8010000c40303", "hex"))).toBe("")
    await closedWith(lab, "tls_on_plaintext")
  })

  it("that sends something else gets GOAWAY, and is counted", async () => {
    const lab = await openLab({})
    expect(await exchange(lab, "\0\0\0\0\0\0\0\0\0\0\0\0")).toContain("not HTTP/2")
    await closedWith(lab, "not_http2")
  })

  it("that sends plain bytes to the TLS port is counted, and harms nobody", async () => {
    const lab = await openLab({ env: TLS })
    await exchange(lab, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await exchange(lab, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
    const figures = await lab.sidecar.figures(
      "two connections without TLS",
      (figures) => figures.find("sidecar_http2_sessions_closed_total{code=\"plaintext_on_tls\"}") === 2
    )
    expect(figures.get("sidecar_gateway_connections")).toBe(0)
    const gateway = secureGateway(lab.sidecar.address)
    onTestFinished(() => gateway.close())
    const call = gateway.call({ requests: [request()] })
    ;(await lab.worker.nextCall()).answer(1)
    expect((await call.status).code).toBe(0)
  })
})

describe("TLS files that change", () => {
  it("are read again without harm to a stream; files that cannot be used are told, and the old ones stay", async () => {
    const folder = fs.mkdtempSync(path.join(process.env["TMPDIR"] ?? "/tmp", "cyt-"))
    onTestFinished(() => fs.rmSync(folder, { recursive: true, force: true }))
    const [cert, key] = [path.join(folder, "tls.crt"), path.join(folder, "tls.key")]
    // As Kubernetes mounts a Secret: what changes is a link in the middle of the way.
    const data = path.join(folder, "..data")
    for (const file of [cert, key]) fs.symlinkSync(path.join("..data", path.basename(file)), file)
    const install = (crtFile: string, keyFile: string) => {
      const fresh = fs.mkdtempSync(path.join(folder, "..2026_"))
      fs.copyFileSync(crtFile, path.join(fresh, "tls.crt"))
      fs.copyFileSync(keyFile, path.join(fresh, "tls.key"))
      fs.symlinkSync(path.basename(fresh), `${data}.new`)
      fs.renameSync(`${data}.new`, data)
    }
    install(fixture("server.crt"), fixture("server.key"))
    const lab = await openLab({ env: { SIDECAR_TLS_CERT: cert, SIDECAR_TLS_KEY: key } })
    const gateway = secureGateway(lab.sidecar.address)
    onTestFinished(() => gateway.close())
    const call = gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    const before = await shownName(lab)
    const said = lab.sidecar.logs.all.length
    install(fixture("client.crt"), fixture("client.key"))
    await lab.sidecar.log("TLS files read again", said)
    const after = await shownName(lab)
    expect(after).not.toBe(before)
    fs.writeFileSync(cert, "no certificate")
    await lab.sidecar.log("TLS files not taken, the old ones stay", said)
    expect(await shownName(lab)).toBe(after)
    served.send(...tokens(1, 1), endOfStream(2))
    served.end()
    const { messages, status } = await collect(call)
    expect([status.code, messages.length]).toEqual([0, 3])
  })
})

/** Sets how many files a process may have open. */
const allowFiles = (pid: number, count: number): void => {
  execFileSync("prlimit", ["--pid", String(pid), `--nofile=${count}:`])
}

const hasPrlimit = spawnSync("prlimit", ["--version"]).status === 0

describe.skipIf(!hasPrlimit)("a process without a file descriptor left", () => {
  it("serves those it has, turns others away, says so once, and takes new ones as soon as it can", async () => {
    const lab = await openLab({})
    const { pid } = lab.sidecar
    const call = lab.gateway.call({ requests: [request()] })
    const served = await lab.worker.nextCall()
    served.send(...tokens(1))
    await call.messages.count(1, "a token")
    const taken = new Set(fs.readdirSync(`/proc/${pid}/fd`).map(Number))
    let free = 0
    while (taken.has(free)) free++
    const before = Number(/Max open files\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/limits`, "utf8"))?.[1])
    allowFiles(pid, free)
    const { host, port } = endpoint(lab)
    for (let at = 0; at < 20; at++) {
      const socket = net.connect(port, host)
      onTestFinished(() => void socket.destroy())
      socket.on("error", () => undefined)
      socket.resume()
      await once(socket, "close")
    }
    const line = await lab.sidecar.logs.first((line) => line["limit"] === "descriptors", "a line about descriptors")
    expect(line).toMatchObject({ level: "warn", msg: "a limit for gateway connections was reached" })
    served.send(...tokens(1, 1))
    await call.messages.count(2, "a token meanwhile")
    allowFiles(pid, before)
    const figures = await lab.sidecar.metrics()
    expect(figures.get("sidecar_http2_limits_total{limit=\"descriptors\"}")).toBeGreaterThan(0)
    expect(lab.sidecar.logs.all.filter((line) => line["limit"] === "descriptors")).toHaveLength(1)
    const later = lab.newGateway().call({ requests: [request()] })
    ;(await lab.worker.nextCall()).answer(1)
    expect((await later.status).code).toBe(0)
    served.send(endOfStream(2))
    served.end()
    expect((await collect(call)).status.code).toBe(0)
  })
})

describe("connections beyond the limit", () => {
  it("make the longest idle ones leave, and a new gateway is served", async () => {
    const lab = await openLab({ env: { SIDECAR_MAX_CONNECTIONS: "5", SIDECAR_MAX_CONNECTIONS_PER_ADDRESS: "5" } })
    const { host, port } = endpoint(lab)
    const idle = await Promise.all(Array.from({ length: 5 }, async () => {
      const socket = net.connect(port, host)
      onTestFinished(() => void socket.destroy())
      socket.on("error", () => undefined)
      socket.resume()
      await once(socket, "connect")
      return socket
    }))
    await lab.sidecar.figures("five connections", (figures) => figures.get("sidecar_gateway_connections") === 5)
    const closed = once(idle[0]!, "close")
    const call = lab.gateway.call({ requests: [request()] })
    ;(await lab.worker.nextCall()).answer(1)
    expect((await call.status).code).toBe(0)
    await closed
    const figures = await lab.sidecar.metrics()
    expect(figures.get("sidecar_http2_limits_total{limit=\"address_connections\"}")).toBe(1)
    expect(figures.get("sidecar_gateway_connections")).toBe(5)
    expect((await lab.sidecar.log("a limit for gateway connections was reached"))["peer"]).toBe(host)
  })
})
