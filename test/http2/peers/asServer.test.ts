import * as grpc from "@grpc/grpc-js"
import * as fs from "node:fs"
import * as http2 from "node:http2"
import * as path from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { CA_FILE, type EchoServer, startEcho } from "./echo.ts"
import { folder, has, hasPython, run } from "./peer.ts"

/** The endpoint as a server, its clients by people who have never seen it. */

const here = import.meta.dirname
const python = "/usr/bin/python3"

const start = async (secure: boolean): Promise<EchoServer> => {
  const server = await startEcho(secure)
  onTestFinished(server.close)
  return server
}

describe.for([false, true])("clients of others, TLS %s", (secure) => {
  const url = (server: EchoServer, path: string): string =>
    `${secure ? "https" : "http"}://localhost:${server.port}${path}`

  it.skipIf(!hasPython("grpc"))("C-core: 50 streams at once, 20 messages each", async () => {
    const server = await start(secure)
    const args = [path.join(here, "grpc_echo.py"), "call", String(server.port), "50", ...(secure ? [CA_FILE] : [])]
    assert.strictEqual((await run(python, args)).trim(), "50 whole")
    assert.deepStrictEqual(server.faults, [])
  })

  it.skipIf(!hasPython("h2"))("python-h2: 100 requests of 20,000 bytes on one connection", async () => {
    const server = await start(secure)
    const args = [path.join(here, "h2_echo.py"), "call", String(server.port), "100", ...(secure ? [CA_FILE] : [])]
    assert.strictEqual((await run(python, args)).trim(), "100 whole")
    assert.deepStrictEqual(server.faults, [])
  })

  it("grpc-js: 20 streams at once", async () => {
    const server = await start(secure)
    const credentials = secure
      ? grpc.credentials.createSsl(fs.readFileSync(CA_FILE))
      : grpc.credentials.createInsecure()
    const client = new grpc.Client(`localhost:${server.port}`, credentials)
    const same = (bytes: Buffer): Buffer => bytes
    const one = (number: number): Promise<void> =>
      new Promise((resolve, reject) => {
        const stream = client.makeBidiStreamRequest("/echo/Stream", same, same)
        const sent = Array.from({ length: 20 }, (_, i) => Buffer.alloc(7 * i * i + 1, number))
        const got: Array<Buffer> = []
        stream.on("data", (bytes: Buffer) => got.push(bytes))
        stream.on("error", reject)
        stream.on("status", (status) => {
          assert.strictEqual(status.code, 0)
          assert.isTrue(Buffer.concat(got).equals(Buffer.concat(sent)))
          resolve()
        })
        for (const message of sent) stream.write(message)
        stream.end()
      })
    await Promise.all(Array.from({ length: 20 }, (_, i) => one(i)))
    client.close()
    assert.deepStrictEqual(server.faults, [])
  })

  it("node:http2: a body of 500,000 bytes there and back, and a reset", async () => {
    const server = await start(secure)
    const session = http2.connect(url(server, ""), secure ? { ca: fs.readFileSync(CA_FILE) } : {})
    onTestFinished(() => session.destroy())
    const stream = session.request({ ":method": "POST", ":path": "/echo" })
    const sent = Buffer.alloc(500_000, "x")
    stream.end(sent)
    const got: Array<Buffer> = []
    for await (const chunk of stream) got.push(Buffer.from(chunk))
    assert.isTrue(Buffer.concat(got).equals(sent))
    const dropped = session.request({ ":method": "POST", ":path": "/echo" })
    dropped.on("error", () => {})
    await new Promise((resolve) => dropped.once("response", resolve))
    dropped.close(http2.constants.NGHTTP2_CANCEL)
    await new Promise((resolve) => dropped.once("close", resolve))
    await new Promise<void>((resolve, reject) => session.ping((error) => error === null ? resolve() : reject(error)))
    assert.deepStrictEqual(server.faults, [])
  })

  it.skipIf(!has("curl"))("curl: a body there and back, and a large one", async () => {
    const server = await start(secure)
    const args = ["-sS", ...(secure ? ["--http2", "--cacert", CA_FILE] : ["--http2-prior-knowledge"])]
    assert.strictEqual(await run("curl", [...args, "-d", "hello", url(server, "/echo")]), "hello")
    assert.strictEqual((await run("curl", [...args, url(server, "/big")])).length, 300_000)
    assert.deepStrictEqual(server.faults, [])
  })

  it.skipIf(!has("nghttp"))("nghttp: a body there and back, padded, in many streams", async () => {
    const server = await start(secure)
    const body = path.join(folder(), "body")
    fs.writeFileSync(body, "y".repeat(100_000))
    const out = await run("nghttp", ["-d", body, "-m", "20", "-b", "100", "--no-verify-peer", url(server, "/echo")])
    assert.strictEqual(out.length, 20 * 100_000)
    assert.deepStrictEqual(server.faults, [])
  })

  it.skipIf(!has("h2load"))("h2load: 5000 requests on 4 connections, small windows", async () => {
    const server = await start(secure)
    const body = path.join(folder(), "body")
    fs.writeFileSync(body, "z".repeat(2000))
    const args = ["-n", "5000", "-c", "4", "-m", "25", "-w", "14", "-W", "16", "-d", body, url(server, "/echo")]
    assert.include(await run("h2load", args), "5000 succeeded, 0 failed, 0 errored, 0 timeout")
    assert.deepStrictEqual(server.faults, [])
  })
})
