import * as grpc from "@grpc/grpc-js"
import * as fs from "node:fs"
import * as http2 from "node:http2"
import * as path from "node:path"
import { assert, describe, it, onTestFinished } from "vitest"
import { CERT_FILE, EchoClient, KEY_FILE } from "./echo.ts"
import { folder, freePort, has, hasPython, serve } from "./peer.ts"

/** The endpoint as a client, its servers by people who have never seen it. */

const here = import.meta.dirname
const python = "/usr/bin/python3"

const connect = async (port: number, secure: boolean): Promise<EchoClient> => {
  const client = await EchoClient.connect(port, secure)
  onTestFinished(() => client.close())
  return client
}

/** A gRPC message: what the body of a stream is made of. */
const message = (payload: Uint8Array): Buffer => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(payload.length, 1)
  return Buffer.concat([head, payload])
}

const messages = (number: number): ReadonlyArray<Buffer> =>
  Array.from({ length: 20 }, (_, i) => message(Buffer.alloc(7 * i * i + 1, number)))

/** 30 gRPC streams at once: each gets its own messages back. */
const streams = async (client: EchoClient): Promise<void> => {
  await Promise.all(Array.from({ length: 30 }, async (_, number) => {
    const sent = messages(number)
    const { body, reset, status, trailers } = await client.call("/echo/Stream", sent)
    assert.deepStrictEqual({ status, reset }, { status: 200, reset: undefined })
    assert.isTrue(body.equals(Buffer.concat(sent)))
    assert.include([...(trailers ?? [])], "grpc-status")
  }))
  assert.deepStrictEqual(client.faults, [])
}

describe.for([false, true])("servers of others, TLS %s", (secure) => {
  const pair = [CERT_FILE, KEY_FILE]

  it.skipIf(!hasPython("grpc"))("C-core: 30 streams at once, 20 messages each", async () => {
    const port = await freePort()
    await serve(port, python, [path.join(here, "grpc_echo.py"), "serve", String(port), ...(secure ? pair : [])])
    await streams(await connect(port, secure))
  })

  it("grpc-js: 30 streams at once, 20 messages each", async () => {
    const server = new grpc.Server()
    const same = (bytes: Buffer): Buffer => bytes
    const stream = {
      path: "/echo/Stream",
      requestStream: true,
      responseStream: true,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same
    } as const
    server.addService({ stream }, {
      stream: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (bytes) => call.write(bytes))
        call.on("end", () => call.end())
      }
    })
    const credentials = secure
      ? grpc.ServerCredentials.createSsl(null, [{
        cert_chain: fs.readFileSync(CERT_FILE),
        private_key: fs.readFileSync(KEY_FILE)
      }])
      : grpc.ServerCredentials.createInsecure()
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync("127.0.0.1:0", credentials, (error, port) => error === null ? resolve(port) : reject(error))
    )
    onTestFinished(() => server.forceShutdown())
    await streams(await connect(port, secure))
  })

  it("node:http2: trailers, a body of 500,000 bytes there and back, and GOAWAY", async () => {
    const onStream = (stream: http2.ServerHttp2Stream): void => {
      stream.respond({ ":status": 200 }, { waitForTrailers: true })
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }))
      stream.pipe(stream)
    }
    const server = secure
      ? http2.createSecureServer({ cert: fs.readFileSync(CERT_FILE), key: fs.readFileSync(KEY_FILE) })
      : http2.createServer()
    const sessions: Array<http2.ServerHttp2Session> = []
    server.on("session", (session) => sessions.push(session))
    server.on("stream", onStream)
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    onTestFinished(() => void server.close())
    const address = server.address()
    if (address === null || typeof address === "string") throw new Error("no port")
    const client = await connect(address.port, secure)
    const sent = Array.from({ length: 50 }, () => Buffer.alloc(10_000, "x"))
    const { body, trailers } = await client.call("/echo", sent)
    assert.isTrue(body.equals(Buffer.concat(sent)))
    assert.deepStrictEqual(trailers, ["grpc-status", "0"])
    for (const session of sessions) session.close()
    await client.closed
    assert.deepStrictEqual(client.faults, [])
  })

  it.skipIf(!hasPython("h2"))("python-h2: 10 bodies of 200,000 bytes at once", async () => {
    const port = await freePort()
    await serve(port, python, [path.join(here, "h2_echo.py"), "serve", String(port), ...(secure ? pair : [])])
    const client = await connect(port, secure)
    await Promise.all(Array.from({ length: 10 }, async (_, number) => {
      const sent = Array.from({ length: 20 }, () => Buffer.alloc(10_000, number))
      const { body, reset } = await client.call("/echo", sent)
      assert.isUndefined(reset)
      assert.isTrue(body.equals(Buffer.concat(sent)))
    }))
    assert.deepStrictEqual(client.faults, [])
  })

  it.skipIf(!has("nghttpd"))("nghttpd: a body sent back, with trailers, and a file", async () => {
    const port = await freePort()
    const root = folder()
    fs.writeFileSync(path.join(root, "file"), "w".repeat(300_000))
    const args = ["-a", "127.0.0.1", "-d", root, "--echo-upload", "--trailer", "grpc-status: 0", String(port)]
    await serve(port, "nghttpd", secure ? [...args, KEY_FILE, CERT_FILE] : ["--no-tls", ...args])
    const client = await connect(port, secure)
    const sent = Array.from({ length: 20 }, () => Buffer.alloc(10_000, "v"))
    const echoed = await client.call("/echo", sent)
    assert.isTrue(echoed.body.equals(Buffer.concat(sent)))
    const file = await client.call("/file", [], [], "GET")
    assert.strictEqual(file.body.length, 300_000)
    assert.deepStrictEqual(file.trailers, ["grpc-status", "0"])
    assert.deepStrictEqual(client.faults, [])
  })
})
