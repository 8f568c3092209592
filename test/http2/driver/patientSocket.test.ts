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
    client.on("data", (chunk) => {
      read += chunk.length
    })
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
