import { describe, expect, it, onTestFinished } from "vitest"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import type { Sidecar } from "../support/sidecar.ts"
import { dataFrame, headersFrame, RawClient, requestHeaders, wholeRequest } from "./raw/client.ts"
import { ErrorCode, Flag, frame, FrameType, message, ping, rstStream, settings, windowUpdate } from "./raw/frames.ts"
import * as Hpack from "./raw/hpack.ts"
import { OK, RESPONSE } from "./raw/worker.ts"
import { useRawLab } from "./rawLab.ts"

const asked = request({ prompt: "asked", tenant: "t", playerId: "p" })

/** What one attack may add to the daemon's memory; a flood of megabytes that was kept would show. */
const MAX_GROWTH_BYTES = 64 << 20

/** A burst of frames; `from`: the first stream identifier that it may use. Answers how many identifiers it took. */
interface Attack {
  readonly name: string
  /** The label of `sidecar_http2_limits_total`. */
  readonly limit: string
  /** Sent once, before. */
  readonly first?: Buffer
  /** The next burst. */
  readonly burst: (number: number) => Buffer
}

const many = (count: number, of: (i: number) => Uint8Array): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => of(i)))

/** 100 streams a burst: their identifiers. */
const id = (burst: number, i: number): number => 2 * (burst * 100 + i) + 1

const attacks: ReadonlyArray<Attack> = [
  {
    name: "rapid reset (CVE-2023-44487)",
    limit: "resets",
    burst: (n) =>
      many(100, (i) => Buffer.concat([wholeRequest(id(n, i), asked), rstStream(id(n, i), ErrorCode.CANCEL)]))
  },
  {
    name: "streams that the sidecar is made to reset, by window updates of 0 (CVE-2025-8671)",
    limit: "made_resets",
    burst: (n) => many(100, (i) => Buffer.concat([headersFrame(id(n, i), requestHeaders()), windowUpdate(id(n, i), 0)]))
  },
  {
    name: "streams that the sidecar is made to reset, by DATA after their end (CVE-2025-8671)",
    limit: "made_resets",
    burst: (n) => many(100, (i) => Buffer.concat([wholeRequest(id(n, i), asked), dataFrame(id(n, i), Buffer.of(0))]))
  },
  { name: "SETTINGS without end (CVE-2019-9515)", limit: "settings", burst: () => many(100, () => settings([4, 1])) },
  {
    name: "PING without end (CVE-2019-9512)",
    limit: "pings",
    burst: () => many(100, () => ping(false, Buffer.alloc(8)))
  },
  {
    name: "empty DATA without end (CVE-2019-9518)",
    limit: "empty_data",
    first: headersFrame(1, requestHeaders()),
    burst: () => many(100, () => dataFrame(1, Buffer.alloc(0)))
  },
  {
    name: "PRIORITY without end (CVE-2019-9513)",
    limit: "ignored_frames",
    burst: () => many(100, () => frame(FrameType.PRIORITY, 0, 1, Buffer.alloc(5)))
  },
  {
    name: "frames of unknown types without end",
    limit: "ignored_frames",
    burst: () => many(100, () => frame(0x55, 0, 0, Buffer.alloc(10)))
  },
  {
    name: "window updates without end",
    limit: "window_updates",
    burst: () => many(10_000, () => windowUpdate(0, 1))
  },
  {
    name: "CONTINUATION without end, empty (CVE-2024-27316)",
    limit: "header_block",
    first: frame(FrameType.HEADERS, 0, 1, Hpack.encode(requestHeaders())),
    burst: () => many(100, () => frame(FrameType.CONTINUATION, 0, 1, Buffer.alloc(0)))
  },
  {
    name: "CONTINUATION without end, full (CVE-2024-27316)",
    limit: "header_block",
    first: frame(FrameType.HEADERS, 0, 1, Hpack.encode(requestHeaders())),
    burst: (n) => frame(FrameType.CONTINUATION, 0, 1, Hpack.encode([[`x-${n}`, "y".repeat(16_000)]]))
  }
]

describe("an attacker on a connection of its own", () => {
  const lab = useRawLab()
  const connect = () => RawClient.connect(lab().lab.sidecar.address)

  /** A stream that runs while something happens; afterwards it has all its tokens, in time. */
  const neighbour = async () => {
    const client = await connect()
    const answered = await client.request(1, asked, ["x-who", "neighbour"])
    const served = await lab().worker.nextCall(["x-who", "neighbour"])
    await served.connection.send(headersFrame(served.id, RESPONSE))
    let sent = 0
    const next = async (): Promise<void> => {
      await served.connection.send(...tokens(1, sent).map((token) => dataFrame(served.id, message(token))))
      await answered.data.count(++sent, "the neighbour's tokens")
    }
    await next()
    return {
      /** One more token goes through. */
      next,
      unharmed: async (): Promise<void> => {
        await next()
        await served.connection.send(
          dataFrame(served.id, message(endOfStream(sent))),
          headersFrame(served.id, OK, Flag.END_STREAM)
        )
        await answered.over
        expect(answered.trailer("grpc-status")).toBe("0")
        expect(answered.messages.length).toBe(sent + 1)
        expect(lab().lab.sidecar.isRunning).toBe(true)
      }
    }
  }

  const limits = async (sidecar: Sidecar, limit: string): Promise<number> =>
    (await sidecar.metrics()).find(`sidecar_http2_limits_total{limit="${limit}"}`) ?? 0

  it.each(attacks)("by $name is cut off and named, and harms nobody", async ({ burst, first, limit }) => {
    const { sidecar } = lab().lab
    const { next, unharmed } = await neighbour()
    const before = await limits(sidecar, limit)
    const links = lab().worker.connections.all.length
    const lines = sidecar.logs.all.length
    const memory = sidecar.residentBytes()
    const attacker = await connect()
    // Its greeting is over: nothing else may stand within a field block.
    await attacker.connection.settled("greeted")
    if (first !== undefined) await attacker.send(first)
    for (let n = 0; !attacker.connection.closed.settled() && n < 2000; n++) {
      await attacker.send(burst(n))
      if (n % 20 === 0) await next()
    }
    await attacker.connection.closed.promise
    expect(await attacker.connection.goaway.promise).toMatchObject({ code: ErrorCode.ENHANCE_YOUR_CALM })
    expect(await limits(sidecar, limit)).toBe(before + 1)
    const told = sidecar.logs.all.slice(lines).filter((line) => line["limit"] === limit)
    // One line in a while for all that meet the same limit.
    if (before === 0) expect(told).toMatchObject([{ level: "warn", peer: expect.stringContaining("127.0.0.1") }])
    expect(sidecar.residentBytes() - memory).toBeLessThan(MAX_GROWTH_BYTES)
    expect(lab().worker.connections.all.length).toBe(links)
    await unharmed()
  })

  it("by a header block that unpacks to a thousandfold is answered, costs no memory, and harms nobody", async () => {
    const { sidecar } = lab().lab
    const { unharmed } = await neighbour()
    const memory = sidecar.residentBytes()
    const attacker = await connect()
    // An entry of 4000 octets in the table, and 16,000 references to it: 64 MB a block, were it unpacked.
    const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 0x7f, 0xa1, 0x1e]), Buffer.alloc(4000, "y")])
    const references = Buffer.alloc(12_000, 0xbe)
    for (let i = 0; i < 20; i++) {
      const block = Buffer.concat([Hpack.encode(requestHeaders()), ...(i === 0 ? [entry] : []), references])
      await attacker.send(frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 2 * i + 1, block))
      await attacker.stream(2 * i + 1).over
      expect(attacker.stream(2 * i + 1).trailer("grpc-status")).toBe("8")
      expect(attacker.stream(2 * i + 1).trailer("cy-reason")).toBe("metadata_too_large")
    }
    expect(sidecar.residentBytes() - memory).toBeLessThan(MAX_GROWTH_BYTES)
    await unharmed()
  })

  it("that reads nothing and keeps its windows shut holds its own streams up, and nobody else's", async () => {
    const { sidecar } = lab().lab
    const { next, unharmed } = await neighbour()
    const memory = sidecar.residentBytes()
    const attacker = await RawClient.connect(sidecar.address, { credit: false, settings: [[4, 0]] })
    const mine: Array<number> = []
    for (let i = 0; i < 50; i++) {
      await attacker.send(wholeRequest(2 * i + 1, asked, ["x-who", `attacker-${i}`]))
      const served = await lab().worker.nextCall(["x-who", `attacker-${i}`])
      mine.push(served.id)
      await served.connection.send(
        headersFrame(served.id, RESPONSE),
        dataFrame(served.id, message(Buffer.alloc(10_000)))
      )
      await next()
    }
    expect(sidecar.residentBytes() - memory).toBeLessThan(MAX_GROWTH_BYTES)
    attacker.connection.destroy()
    await unharmed()
  })

  it("that opens and shuts its windows by SETTINGS is served to the byte", async () => {
    const attacker = await RawClient.connect(lab().lab.sidecar.address, { credit: false, settings: [[4, 0]] })
    const answered = await attacker.request(1, asked, ["x-who", "windows"])
    const served = await lab().worker.nextCall(["x-who", "windows"])
    await served.connection.send(headersFrame(served.id, RESPONSE))
    const three = tokens(3).map((token) => message(token))
    const [body = Buffer.alloc(0)] = three
    await served.connection.send(...three.map((token) => dataFrame(served.id, token)))
    // Open by one byte, then shut below zero, and open again.
    await attacker.send(settings([4, 1]))
    await answered.received(1)
    await attacker.send(settings([4, 0]))
    await attacker.connection.settled("shut")
    expect(answered.bytes.length).toBe(1)
    await attacker.send(windowUpdate(1, 1))
    await attacker.connection.settled("zero")
    expect(answered.bytes.length).toBe(1)
    await attacker.send(windowUpdate(1, body.length))
    await answered.received(1 + body.length)
    await attacker.connection.settled("one")
    expect(answered.bytes.length).toBe(1 + body.length)
    await attacker.send(settings([4, 65_535]))
    await served.connection.send(
      dataFrame(served.id, message(endOfStream(3))),
      headersFrame(served.id, OK, Flag.END_STREAM)
    )
    await answered.over
    expect(answered.messages.length).toBe(4)
    expect(answered.trailer("grpc-status")).toBe("0")
  })
})

describe("a gateway that cancels a lot", () => {
  const lab = useRawLab()

  it("200 times a second is no attacker", async () => {
    const { sidecar } = lab().lab
    const client = await RawClient.connect(sidecar.address)
    onTestFinished(() => client.connection.destroy())
    for (let i = 0; i < 2000; i++) {
      await client.send(wholeRequest(2 * i + 1, asked), rstStream(2 * i + 1, ErrorCode.CANCEL))
    }
    await client.connection.settled("lives")
    expect(client.connection.goaway.settled()).toBe(false)
    expect((await sidecar.metrics()).find(`sidecar_http2_limits_total{limit="resets"}`) ?? 0).toBe(0)
  })
})
