import * as net from "node:net"
import { describe, expect, it, onTestFinished } from "vitest"
import { collect } from "../support/gateway.ts"
import type { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { emptyLab, type Lab, openLab } from "../support/lab.ts"
import { control, controlOf, endOfStream, request, tokens } from "../support/protobuf.ts"
import { Sidecar, type SidecarOptions, wires } from "../support/sidecar.ts"
import { fixture, outerAddress, secureGateway } from "../support/twins/tls.ts"

const CONFIG = 78
const UNAVAILABLE = 69
const CONTROL = "/cy.llm.AiInference/Control"

const tls = { SIDECAR_TLS_CERT: fixture("server.crt"), SIDECAR_TLS_KEY: fixture("server.key") }
const mutualTls = { ...tls, SIDECAR_TLS_CLIENT_CA: fixture("ca.crt") }

/** Closed before the lab looks whether everything is quiet. */
const closing = (gateway: GrpcJsGateway): GrpcJsGateway => {
  onTestFinished(() => gateway.close())
  return gateway
}

const served = async (lab: Lab, gateway: GrpcJsGateway): Promise<void> => {
  const call = gateway.call({ requests: [request()] })
  ;(await lab.worker.nextCall()).answer(3)
  const { messages, status } = await collect(call)
  expect(status.code).toBe(0)
  expect(messages).toEqual([...tokens(3), endOfStream(3)])
}

/** It gets no answer, and neither the sidecar nor the worker has ever heard of a call. */
const keptOut = async (lab: Lab, gateway: GrpcJsGateway): Promise<void> => {
  const before = await lab.sidecar.metrics()
  const { messages, status } = await collect(gateway.call({ requests: [request()] }))
  expect(status.code).toBe(14)
  expect(messages).toEqual([])
  expect([...status.trailers.keys()].filter((key) => key.startsWith("cy-"))).toEqual([])
  expect(lab.worker.untaken).toEqual([])
  expect((await lab.sidecar.metrics()).get("sidecar_requests_total")).toBe(before.get("sidecar_requests_total"))
}

const askStatus = async (gateway: GrpcJsGateway) => {
  const { messages, status } = await collect(gateway.call({ path: CONTROL, requests: [control("sidecar.status")] }))
  return { code: status.code, payload: messages.map((message) => controlOf(message).payload) }
}

/** The port of `0.0.0.0:port` under an address that is not the loopback's. */
const fromOutside = (lab: Lab): string => `${outerAddress()}:${lab.sidecar.address.split(":").at(-1)}`

describe.each(wires)("TLS on the %s wire", (wire) => {
  it("serves a gateway that trusts the certificate, and no plaintext gateway", async () => {
    const lab = await openLab({ wire, env: tls })
    await served(lab, closing(secureGateway(lab.sidecar.address)))
    await keptOut(lab, lab.newGateway())
    await served(lab, closing(secureGateway(lab.sidecar.address)))
  })

  it("is not troubled by connections that are no TLS", async () => {
    const lab = await openLab({ wire, env: tls })
    const [host = "", port] = lab.sidecar.address.split(":")
    for (
      const bytes of ["GET / HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\xff\xff garbage"]
    ) {
      const socket = net.connect(Number(port), host)
      const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()))
      socket.on("error", () => undefined)
      socket.resume()
      socket.end(bytes)
      await closed
    }
    await served(lab, closing(secureGateway(lab.sidecar.address)))
  })

  it("with client certificates serves a gateway that has one of the authority's, and nobody else", async () => {
    const lab = await openLab({ wire, env: mutualTls })
    await keptOut(lab, closing(secureGateway(lab.sidecar.address)))
    await keptOut(lab, closing(secureGateway(lab.sidecar.address, "stranger")))
    await keptOut(lab, lab.newGateway())
    const known = closing(secureGateway(lab.sidecar.address, "client"))
    await served(lab, known)
    expect(await askStatus(known)).toMatchObject({ code: 0, payload: [{ status: "ok", worker_state: "Connected" }] })
  })

  it.runIf(outerAddress() !== undefined)(
    "trusts a gateway that is not on this machine with sidecar.* commands by a name in its certificate only",
    async () => {
      const everywhere = { SIDECAR_BIND_ADDR: "0.0.0.0:0" }
      const open = await openLab({ wire, env: { ...tls, ...everywhere } })
      const anyone = closing(secureGateway(fromOutside(open)))
      await served(open, anyone)
      expect(await askStatus(anyone)).toEqual({ code: 7, payload: [] })

      const strict = await openLab({ wire, env: { ...mutualTls, ...everywhere } })
      const unnamed = closing(secureGateway(fromOutside(strict), "client"))
      await served(strict, unnamed)
      expect(await askStatus(unnamed)).toEqual({ code: 7, payload: [] })

      const named = await openLab({ wire, env: { ...mutualTls, ...everywhere, SIDECAR_CONTROL: "ops, gateway" } })
      const known = closing(secureGateway(fromOutside(named), "client"))
      expect(await askStatus(known)).toMatchObject({ code: 0, payload: [{ status: "ok", worker_state: "Connected" }] })
    }
  )

  it("drains with TLS gateways connected: the running stream finishes, and the process ends by itself", async () => {
    const lab = await openLab({ wire, env: mutualTls })
    const gateway = closing(secureGateway(lab.sidecar.address, "client"))
    const call = gateway.call({ requests: [request()] })
    const atWorker = await lab.worker.nextCall()
    atWorker.send(...tokens(1))
    await call.messages.count(1, "a token")
    lab.sidecar.signal("SIGTERM")
    await lab.sidecar.log("draining")
    atWorker.send(endOfStream(1))
    atWorker.end()
    expect((await collect(call)).status.code).toBe(0)
    expect(await lab.sidecar.exited).toEqual({ code: 0, signal: null })
  })
})

/** Starts a sidecar that cannot start; gives what it said. */
const startInVain = async (options: SidecarOptions) => {
  const lab = emptyLab()
  const sidecar = new Sidecar(lab.folder, options)
  onTestFinished(() => sidecar.close())
  const exit = await sidecar.exited
  expect(sidecar.output).not.toMatch(/^\s+at /m)
  return { exit, complaints: sidecar.output.split("\n").filter((line) => line.startsWith("sidecar:")) }
}

const aText = fixture("README.md")
const missing = fixture("missing.pem")

describe.each(wires)("a mistake in TLS files on the %s wire", (wire) => {
  it.each<[string, Readonly<Record<string, string>>, ReadonlyArray<string>]>([
    ["a certificate that is not there", { ...tls, SIDECAR_TLS_CERT: missing }, [
      "[server] tls_cert",
      "cannot read",
      missing
    ]],
    ["a key that is not there", { ...tls, SIDECAR_TLS_KEY: missing }, ["[server] tls_key", "cannot read", missing]],
    ["an authority that is not there", { ...mutualTls, SIDECAR_TLS_CLIENT_CA: missing }, [
      "[server] tls_client_ca",
      "cannot read",
      missing
    ]],
    ["a certificate that is none", { ...tls, SIDECAR_TLS_CERT: aText }, ["[server] tls_cert", aText, "PEM"]],
    ["a key that is none", { ...tls, SIDECAR_TLS_KEY: aText }, ["tls_key", aText, "PEM"]],
    ["a key of another certificate", { ...tls, SIDECAR_TLS_KEY: fixture("client.key") }, [
      "tls_key",
      fixture("client.key"),
      "PEM"
    ]],
    ["an authority that is none", { ...mutualTls, SIDECAR_TLS_CLIENT_CA: aText }, [
      "[server] tls_client_ca",
      aText,
      "PEM"
    ]]
  ])("%s: told in one line, exit code 69", async (_, env, words) => {
    const { complaints, exit } = await startInVain({ wire, env })
    expect({ exit, complaints }).toEqual({
      exit: { code: UNAVAILABLE, signal: null },
      complaints: [expect.any(String)]
    })
    for (const word of words) expect(complaints[0]).toContain(word)
  })
})

describe("TLS settings that do not belong together", () => {
  it.each<[string, Readonly<Record<string, string>>, ReadonlyArray<string>]>([
    ["tls_cert without tls_key", { SIDECAR_TLS_CERT: tls.SIDECAR_TLS_CERT }, ["SIDECAR_TLS_CERT", "without tls_key"]],
    ["tls_key without tls_cert", { SIDECAR_TLS_KEY: tls.SIDECAR_TLS_KEY }, ["SIDECAR_TLS_KEY", "without tls_cert"]],
    ["tls_client_ca alone", { SIDECAR_TLS_CLIENT_CA: fixture("ca.crt") }, ["SIDECAR_TLS_CLIENT_CA", "without tls_cert"]]
  ])("%s: told in one line, exit code 78", async (_, env, words) => {
    const { complaints, exit } = await startInVain({ env })
    expect({ exit, complaints }).toEqual({ exit: { code: CONFIG, signal: null }, complaints: [expect.any(String)] })
    for (const word of words) expect(complaints[0]).toContain(word)
  })
})
