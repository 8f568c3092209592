import { once } from "node:events"
import * as http2 from "node:http2"
import type { AddressInfo } from "node:net"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { Incoming } from "../../src/internal/http2/incoming.ts"
import { Outgoing } from "../../src/internal/http2/outgoing.ts"
import { concat } from "../../src/internal/wire/frames.ts"
import { Gathered } from "../../src/internal/wire/gathered.ts"

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => new TextEncoder().encode(`token ${from + i}\n`))
const text = (parts: ReadonlyArray<Uint8Array>) => new TextDecoder().decode(concat(parts))

describe("Gathered", () => {
  const takeAll = (gathered: Gathered) => {
    const out: Array<Uint8Array> = []
    for (let block = gathered.take(); block !== undefined; block = gathered.take()) out.push(block)
    return out
  }

  it("gives everything back in order, in few blocks, and counts what waits", () => {
    const gathered = new Gathered()
    const parts = numbered(0, 5000)
    for (const part of parts) gathered.push(part)
    expect(gathered.size).toBe(concat(parts).length)
    const blocks = takeAll(gathered)
    expect(text(blocks)).toBe(text(parts))
    expect(blocks.length).toBeLessThan(12)
    expect(gathered.size).toBe(0)
  })

  it("splits nothing that was put in as one", () => {
    const gathered = new Gathered()
    const parts = [10, 1000, 700, 9000, 3, 8190, 8192, 5, 20_000].map((length, i) => new Uint8Array(length).fill(i + 1))
    for (const part of parts) gathered.push(part)
    for (const block of takeAll(gathered)) {
      for (const mark of new Set(block)) {
        expect(block.filter((byte) => byte === mark).length).toBe(parts[mark - 1]?.length)
      }
    }
  })

  it("keeps no part of the read that a small array came in", () => {
    const gathered = new Gathered()
    gathered.push(new Uint8Array(65_536).subarray(100, 160))
    expect(gathered.take()?.buffer.byteLength).toBeLessThan(2000)
  })

  it("takes more after something was taken, and forgets on request", () => {
    const gathered = new Gathered()
    gathered.push(new Uint8Array([1]))
    expect(gathered.take()).toEqual(new Uint8Array([1]))
    gathered.push(new Uint8Array([2]))
    gathered.push(new Uint8Array([3]))
    expect(gathered.take()).toEqual(new Uint8Array([2, 3]))
    gathered.push(new Uint8Array([4]))
    gathered.clear()
    expect(gathered.size).toBe(0)
    expect(gathered.take()).toBeUndefined()
  })
})

describe("DATA of an HTTP/2 stream", () => {
  let server: http2.Http2Server
  let session: http2.ClientHttp2Session

  beforeEach(async () => {
    server = http2.createServer()
    server.listen(0, "127.0.0.1")
    await once(server, "listening")
    const { port } = server.address() as AddressInfo
    session = http2.connect(`http://127.0.0.1:${port}`)
  })
  afterEach(() => {
    session.destroy()
    server.close()
  })

  /** A stream's two ends: what the client sends is there for the server, and the other way round. */
  const open = async () => {
    const arrived = once(server, "stream")
    const client = session.request({ ":method": "POST" }, { endStream: false })
    const [served] = (await arrived) as [http2.ServerHttp2Stream]
    client.on("error", () => {})
    served.on("error", () => {})
    return { client, served }
  }

  it("comes whole and in order, with its end after it", async () => {
    const { client, served } = await open()
    served.respond({ ":status": 200 })
    const got: Array<Uint8Array> = []
    const incoming = new Incoming(client, (chunk) => got.push(chunk) > 0)
    incoming.begin()
    const parts = numbered(0, 3000)
    for (const part of parts) served.write(part)
    served.end()
    await once(client, "end")
    expect(text(got)).toBe(text(parts))
  })

  it("ends with the peer's trailers, while the own half is still open", async () => {
    const { client, served } = await open()
    served.respond({ ":status": 200 }, { waitForTrailers: true })
    served.on("wantTrailers", () => served.sendTrailers({ "x-end": "1" }))
    new Incoming(client, () => true).begin()
    const ended = once(client, "end")
    served.end("x")
    await ended
    expect(client.writableEnded).toBe(false)
  })

  it("takes what came before anybody listened", async () => {
    const { client, served } = await open()
    client.write("early ")
    await once(served, "readable")
    const got: Array<Uint8Array> = []
    new Incoming(served, (chunk) => got.push(chunk) > 0).begin()
    client.end("late")
    await once(served, "end")
    expect(text(got)).toBe("early late")
  })

  it("stays within the window after a stop, and loses nothing when it goes on", async () => {
    const { client, served } = await open()
    served.respond({ ":status": 200 })
    const got: Array<Uint8Array> = []
    let more = false
    const incoming = new Incoming(client, (chunk) => {
      got.push(chunk)
      return more
    })
    incoming.begin()
    const sent = new Uint8Array(300_000).map((_, i) => i % 251)
    served.end(sent)
    // A PING answered by the peer: what its window allowed has been sent and taken by then.
    await new Promise((resolve) => session.ping(resolve))
    await new Promise((resolve) => session.ping(resolve))
    expect(concat(got).length).toBeGreaterThan(0)
    expect(concat(got).length).toBeLessThanOrEqual(65_535)
    more = true
    incoming.resume()
    await once(client, "end")
    expect(Buffer.compare(concat(got), sent)).toBe(0)
  })

  it("leaves whole and in order, small and large together", async () => {
    const { client, served } = await open()
    served.respond({ ":status": 200 })
    const got: Array<Uint8Array> = []
    new Incoming(client, (chunk) => got.push(chunk) > 0).begin()
    const outgoing = new Outgoing(served, () => {})
    const large = new Uint8Array(100_000).fill(65)
    const parts = [...numbered(0, 100), large, ...numbered(100, 300), large, ...numbered(300, 301)]
    for (const part of parts) outgoing.write(part)
    expect(outgoing.pending).toBe(concat(parts).length)
    outgoing.flush()
    served.end()
    await once(client, "end")
    expect(text(got)).toBe(text(parts))
    expect(outgoing.pending).toBe(0)
  })

  it("says full behind a peer that does not read, and that there is room once it does", async () => {
    const { client, served } = await open()
    served.respond({ ":status": 200 })
    const got: Array<Uint8Array> = []
    let more = false
    const incoming = new Incoming(client, (chunk) => {
      got.push(chunk)
      return more
    })
    incoming.begin()
    let drained = () => {}
    const outgoing = new Outgoing(served, () => drained())
    const part = new Uint8Array(100).fill(66)
    const fill = () => {
      let bytes = part.length
      while (outgoing.write(part)) bytes += part.length
      return bytes
    }
    const room = () => new Promise<void>((resolve) => drained = resolve)
    // The first answers of "full" come before the window is used up.
    let written = fill()
    for (; written < 65_535; written += fill()) await room()
    expect(outgoing.pending).toBeGreaterThan(0)
    const again = room()
    more = true
    incoming.resume()
    await again
    outgoing.flush()
    served.end()
    await once(client, "end")
    expect(concat(got).length).toBe(written)
  })
})
