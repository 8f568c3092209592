import { assert, describe, it, onTestFinished } from "vitest"
import { EchoClient, startEcho } from "./echo.ts"
import { folder, freePort, has, serve } from "./peer.ts"
import { proxies } from "./proxies.ts"

/** Somebody else's proxy in the middle: our client is on its one side, our server on the other, so each is tried twice. */

describe.for(Object.entries(proxies))("%s between our client and our server", ([name, configure]) => {
  it.skipIf(!has(name)).for([false, true])("passes 30 streams at once, and large bodies, TLS %s", async (secure) => {
    const server = await startEcho(secure)
    onTestFinished(server.close)
    const port = await freePort()
    await serve(port, name, configure({ port, secure, server, folder: folder() }))
    const client = await EchoClient.connect(port, secure)
    onTestFinished(() => client.close())
    await Promise.all(Array.from({ length: 30 }, async (_, number) => {
      const sent = Array.from({ length: 20 }, (_, i) => Buffer.alloc(5 * i * i + 1, number))
      const { body, reset, status, trailers } = await client.call("/echo", sent)
      assert.deepStrictEqual({ status, reset }, { status: 200, reset: undefined })
      assert.isTrue(body.equals(Buffer.concat(sent)))
      assert.includeMembers([...(trailers ?? [])], ["grpc-status", "x-bytes", String(body.length)])
    }))
    const large = Array.from({ length: 50 }, () => Buffer.alloc(10_000, "x"))
    const { trailers } = await client.call("/sink", large)
    assert.includeMembers([...(trailers ?? [])], ["x-bytes", "500000"])
    // HAProxy 2.6 gives its whole backend connection up (INTERNAL_ERROR) when trailers come while the 16 KiB that it keeps
    // of the stream's answer are full, whoever the server is.
    if (name !== "haproxy") assert.strictEqual((await client.call("/big", [])).body.length, 300_000)
    assert.deepStrictEqual(client.faults, [])
    assert.deepStrictEqual(server.faults, [])
  })
})
