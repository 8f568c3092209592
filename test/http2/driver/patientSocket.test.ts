import { assert, describe, it } from "@effect/vitest"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import * as net from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PatientSocket } from "../../../src/http2/driver/patientSocket.ts"

/** What a client reads of a peer that says its last words and closes in the moment in which the client writes. */
const lastWords = async (client: net.Socket): Promise<{ readonly read: number; readonly error: string }> => {
  const folder = mkdtempSync(join(tmpdir(), "cy-socket-"))
  const server = net.createServer()
  try {
    server.listen(join(folder, "peer.sock"))
    await once(server, "listening")
    client.connect(join(folder, "peer.sock"))
    const [accepted] = await once(server, "connection")
    assert.instanceOf(accepted, net.Socket)
    if (client.connecting) await once(client, "connect")
    let read = 0
    let error = ""
    const hear = (length: number): void => {
      read += length
    }
    if (client instanceof PatientSocket) client.listen((_, length) => hear(length))
    else client.on("data", (chunk) => hear(chunk.length))
    client.on("error", (cause) => {
      error = cause.message
    })
    const closed = new Promise((resolve) => client.once("close", resolve))
    accepted.write(Buffer.alloc(100_000))
    accepted.destroy()
    client.write("a window update")
    await closed
    return { read, error }
  } finally {
    server.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

describe("A socket whose peer has closed", () => {
  it("brings what the peer had said, and then its end", async () => {
    assert.deepStrictEqual(await lastWords(new PatientSocket()), { read: 100_000, error: "" })
  })

  it("would lose it as Node's own does", async () => {
    const { error, read } = await lastWords(new net.Socket())
    assert.strictEqual(read, 0)
    assert.include(error, "EPIPE")
  })
})

describe("What a socket reads into its memory", () => {
  const told = async (sizes: ReadonlyArray<number>, listenAfter: number) => {
    const server = net.createServer().listen(0, "127.0.0.1")
    await once(server, "listening")
    const address = server.address()
    const port = typeof address === "object" && address !== null ? address.port : 0
    const client = new PatientSocket().connect(port, "127.0.0.1")
    const [accepted] = await once(server, "connection")
    assert.instanceOf(accepted, net.Socket)
    if (client.connecting) await once(client, "connect")
    const chunks: Array<Buffer> = []
    const sum = sizes.reduce((total, size) => total + size, 0)
    const whole = Promise.withResolvers<void>()
    let have = 0
    const listen = () =>
      client.listen((memory, length) => {
        chunks.push(Buffer.from(memory.subarray(0, length)))
        have += length
        if (have === sum) whole.resolve()
      })
    for (const [at, size] of sizes.entries()) {
      if (at === listenAfter) listen()
      await new Promise((resolve) => accepted.write(Buffer.alloc(size, at + 1), resolve))
    }
    if (sizes.length === listenAfter) listen()
    await whole.promise
    accepted.end()
    await once(client, "close")
    server.close()
    return Buffer.concat(chunks)
  }
  const expected = (sizes: ReadonlyArray<number>) => Buffer.concat(sizes.map((size, at) => Buffer.alloc(size, at + 1)))

  it("is told as it came", async () => {
    const sizes = [1, 70_000, 9, 16_384, 49_151, 49_152, 65_536, 200_000, 60]
    assert.isTrue(expected(sizes).equals(await told(sizes, 0)))
  })

  it("waits for its listener", async () => {
    const sizes = [60, 70_000, 60]
    for (const after of [1, 2, 3]) assert.isTrue(expected(sizes).equals(await told(sizes, after)), `after ${after}`)
  })
})
