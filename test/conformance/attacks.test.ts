import { describe, expect, it, onTestFinished } from "vitest"
import { bomb, floods } from "../attacks/floods.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import type { Sidecar } from "../support/sidecar.ts"
import { RawClient } from "./raw/client.ts"
import { ErrorCode, Flag, message, rstStream, settings, windowUpdate } from "./raw/frames.ts"
import { dataFrame, headersFrame, wholeRequest } from "./raw/requests.ts"
import { OK, RESPONSE } from "./raw/worker.ts"
import { useRawLab } from "./rawLab.ts"

const asked = request({ prompt: "asked", tenant: "t", playerId: "p" })

/** What one attack may add to the daemon's memory; a flood of megabytes that was kept would show. */
const MAX_GROWTH_BYTES = 64 << 20

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

  it.each(floods)("by $name is cut off and named, and harms nobody", async ({ burst, first, limit }) => {
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
    const before = await limits(sidecar, "header_list")
    const attacker = await connect()
    for (let i = 0; i < 20; i++) {
      await attacker.send(bomb(i))
      await attacker.stream(2 * i + 1).over
      expect(attacker.stream(2 * i + 1).trailer("grpc-status")).toBe("8")
      expect(attacker.stream(2 * i + 1).trailer("cy-reason")).toBe("metadata_too_large")
    }
    expect(await limits(sidecar, "header_list")).toBe(before + 20)
    expect(sidecar.logs.all.filter((line) => line["limit"] === "header_list")).toHaveLength(1)
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
