import * as net from "node:net"
import { describe, expect, it, onTestFinished } from "vitest"
import { collect, reasonOf, trailer } from "../support/gateway.ts"
import type { RawOptions } from "../support/http2Gateway.ts"
import { type Lab, useLab } from "../support/lab.ts"
import { endOfStream, frame, request, token, tokens } from "../support/protobuf.ts"
import { wires } from "../support/sidecar.ts"

/** Bytes of a header list as HTTP/2 counts them. */
const headerBytes = (fields: ReadonlyMap<string, ReadonlyArray<string>>): number => {
  let bytes = 0
  for (const [key, values] of fields) for (const value of values) bytes += key.length + value.length + 32
  return bytes
}

/** A stream that is running while something happens to another one; afterwards it must end complete. */
const neighbour = async (lab: Lab) => {
  const call = lab.gateway.call({ metadata: [["x-who", "neighbour"]], requests: [request()] })
  const served = await lab.worker.callWith("x-who", "neighbour")
  served.send(...tokens(3))
  await call.messages.count(3, "the neighbour's tokens")
  const links = lab.worker.connections.all.length
  return async () => {
    served.send(...tokens(3, 3), endOfStream(6))
    served.end()
    const { messages, status } = await collect(call)
    expect(status).toMatchObject({ code: 0 })
    expect(messages).toEqual([...tokens(6), endOfStream(6)])
    expect(lab.worker.connections.all.length).toBe(links)
    expect(lab.sidecar.isRunning).toBe(true)
  }
}

describe.each(wires)("a hostile gateway on the %s wire", (wire) => {
  const lab = useLab({ wire, engine: "http2" })

  const callServed = async (options: RawOptions) => {
    const call = lab().rawGateway().call({
      requests: [request()],
      ...options,
      metadata: [["x-who", "served"], ...(options.metadata ?? [])]
    })
    const served = await lab().worker.callWith("x-who", "served")
    served.answer(2)
    const { messages, status } = await collect(call)
    expect(status).toMatchObject({ code: 0 })
    expect(messages).toEqual([...tokens(2), endOfStream(2)])
    return served
  }

  it("that sends http2-settings is served without it", async () => {
    const unharmed = await neighbour(lab())
    const served = await callServed({ poison: [["http2-settings", "x"]] })
    expect(served.headers["http2-settings"]).toBeUndefined()
    await unharmed()
  })

  it("that sends a path of 9 kB is refused, and harms nobody else", async () => {
    const unharmed = await neighbour(lab())
    const { status } = await collect(lab().gateway.call({ path: `/cy.llm.AiInference/${"x".repeat(9000)}` }))
    expect(status).toMatchObject({ code: 8 })
    expect(trailer(status, "cy-reason")).toBe("metadata_too_large")
    await unharmed()
  })

  it.each(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"])(
    "that sends %s harms nobody else",
    async (name) => {
      const unharmed = await neighbour(lab())
      lab().worker.serveWith((served) => served.answer(1))
      const call = lab().rawGateway().call({ requests: [request()], poison: [[name, "x"]] })
      await call.closed
      lab().worker.serveWith(undefined)
      await unharmed()
    }
  )

  it.each(["authorization", "date", "user-agent", "retry-after", "content-type", "te"])(
    "that sends %s twice is served and harms nobody",
    async (name) => {
      const unharmed = await neighbour(lab())
      lab().worker.serveWith((served) => served.answer(1))
      const call = lab().rawGateway().call({
        requests: [request()],
        poison: [[name, "trailers"], [name, "trailers"]]
      })
      await call.closed
      lab().worker.serveWith(undefined)
      await unharmed()
    }
  )

  it("that sends keys and values which are not gRPC's is served without them", async () => {
    const unharmed = await neighbour(lab())
    const served = await callServed({
      headers: { "x-latin": "caf\u00e9", "x-ok": "ok", "grpc-status": "0", cookie: "a=b" }
    })
    expect(served.headers["x-ok"]).toBe("ok")
    expect(served.headers["x-latin"]).toBeUndefined()
    expect(served.headers["grpc-status"]).toBeUndefined()
    await unharmed()
  })

  it("that sends 9 kB of metadata is refused, and the worker never sees it", async () => {
    const unharmed = await neighbour(lab())
    const call = lab().gateway.call({ metadata: [["x-big", "a".repeat(9000)]], requests: [request()] })
    const status = await call.status
    expect(status).toMatchObject({ code: 8, trailersOnly: true })
    expect(status.message).toMatch(/^metadata too large/)
    expect(trailer(status, "cy-reason")).toBe("metadata_too_large")
    expect(lab().worker.untaken).toEqual([])
    await unharmed()
  })

  it("that sends 60 kB of metadata is refused", async () => {
    const unharmed = await neighbour(lab())
    const call = lab().rawGateway().call({
      metadata: Array.from({ length: 60 }, (_, at) => [`x-big-${at}`, "a".repeat(1000)] as const),
      requests: [request()]
    })
    const status = await call.status
    expect(status.code).not.toBe(0)
    expect([undefined, "metadata_too_large"]).toContain(reasonOf(status))
    expect(lab().worker.untaken).toEqual([])
    await unharmed()
  })

  it("that sends 6 kB of metadata is served with all of it", async () => {
    const served = await callServed({ metadata: [["x-big", "a".repeat(6000)]] })
    expect(served.headers["x-big"]).toBe("a".repeat(6000))
  })

  it("that half-closes inside a message gets INTERNAL", async () => {
    const unharmed = await neighbour(lab())
    lab().worker.serveWith(() => undefined)
    const call = lab().rawGateway().call({ requests: [], halfClose: false })
    call.write(frame(request()).subarray(0, 7))
    call.halfClose()
    // A grpc-js server takes half a message for none: then it is the worker's to answer.
    if (wire === "http2") {
      const status = await call.status
      expect([status.code, reasonOf(status)]).toEqual([13, "malformed"])
    } else call.cancel()
    await call.closed
    lab().worker.serveWith(undefined)
    await unharmed()
  })

  it("that leaves inside a message leaves nothing behind", async () => {
    const gateway = lab().rawGateway()
    const call = gateway.call({ metadata: [["x-who", "leaver"]], requests: [request()], halfClose: false })
    const served = await lab().worker.callWith("x-who", "leaver")
    call.write(frame(Buffer.alloc(1_000_000)).subarray(0, 500_000))
    gateway.destroy()
    await served.cancelled.promise
    await lab().sidecar.settled()
  })

  it("that sends garbage instead of HTTP/2 is sent away", async () => {
    const unharmed = await neighbour(lab())
    const port = Number(lab().sidecar.address.split(":").at(-1))
    for (
      const bytes of [
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "\0".repeat(100),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff"
      ]
    ) {
      const socket = net.connect(port, "127.0.0.1")
      onTestFinished(() => void socket.destroy())
      socket.on("error", () => undefined)
      socket.resume()
      const closed = new Promise((resolve) => socket.once("close", resolve))
      socket.end(Buffer.from(bytes, "latin1"))
      await closed
    }
    await unharmed()
  })

  it.each([
    ["1n", 4],
    ["0m", 4],
    ["1800S", 0],
    ["720H", 0],
    ["99999999H", 0],
    ["99999999S", 0],
    ["99999999n", 4]
  ])("that gives the deadline %s gets an answer (%i) and harms nobody", async (timeout, code) => {
    const unharmed = await neighbour(lab())
    lab().worker.serveWith((served) => {
      if (code === 0) served.answer(1)
    })
    const call = lab().rawGateway().call({ requests: [request()], headers: { "grpc-timeout": timeout } })
    const status = await call.status
    lab().worker.serveWith(undefined)
    // A grpc-js server reckons long deadlines modulo 2^32: what it then answers is its own affair, that it answers is ours.
    if (wire === "http2") {
      expect([status.code, reasonOf(status)]).toEqual([code, code === 4 ? "deadline" : undefined])
    } else if (code === 4) expect(status.code).toBe(4)
    await unharmed()
  })

  it.each(["", "5", "-5S", "123456789S", "1.5S", "S", "NaNm", "5 S", "5s"])(
    "that gives \"%s\" for a deadline gets an answer and harms nobody",
    async (timeout) => {
      const unharmed = await neighbour(lab())
      lab().worker.serveWith((served) => served.answer(1))
      const call = lab().rawGateway().call({ requests: [request()], headers: { "grpc-timeout": timeout } })
      await call.status
      lab().worker.serveWith(undefined)
      await unharmed()
    }
  )

  it("that opens and cancels 1,500 streams one after the other harms no neighbour on its connection", async () => {
    const gateway = lab().rawGateway()
    const innocent = gateway.call({ metadata: [["x-who", "innocent"]], requests: [request()] })
    const served = await lab().worker.callWith("x-who", "innocent")
    served.send(...tokens(1))
    await innocent.messages.count(1, "a token")
    lab().worker.serveWith(() => undefined)
    for (let at = 0; at < 1500; at++) {
      const call = gateway.call({ requests: [] })
      call.cancel()
      await call.closed
    }
    lab().worker.serveWith(undefined)
    // A grpc-js server keeps nghttp2's own limit, which a busy gateway trips.
    if (wire === "http2") {
      served.send(...tokens(1, 1), endOfStream(2))
      served.end()
      expect((await collect(innocent)).status).toMatchObject({ code: 0 })
    } else innocent.cancel()
    await lab().sidecar.settled()
  })
})

describe.each(wires)("a hostile worker on the %s wire", (wire) => {
  const lab = useLab({ wire, engine: "http2", env: { SIDECAR_TRIP_AFTER: "1000" } })

  const ended = async (act: (served: Awaited<ReturnType<Lab["worker"]["nextCall"]>>) => void, first = 1) => {
    const call = lab().rawGateway().call({ metadata: [["x-who", "victim"]], requests: [request()] })
    const served = await lab().worker.callWith("x-who", "victim")
    if (first > 0) {
      served.send(...tokens(first))
      await call.messages.count(first, "tokens")
    }
    act(served)
    const { messages, status } = await collect(call)
    expect(messages.slice(0, first)).toEqual(tokens(first))
    return status
  }

  it.each([0, 1])(
    "sends 9 kB of status message after %i messages: the code stays, the message is cut",
    async (first) => {
      const unharmed = await neighbour(lab())
      const status = await ended((served) => served.end(8, "满".repeat(1000)), first)
      expect([status.code, reasonOf(status)]).toEqual([8, undefined])
      expect(status.message.startsWith("满满")).toBe(true)
      expect(status.message).not.toContain("\ufffd")
      expect(headerBytes(status.trailers)).toBeLessThanOrEqual(7168)
      await unharmed()
    }
  )

  it("sends 9 kB of trailers: the code stays, what does not fit is left out", async () => {
    const unharmed = await neighbour(lab())
    const status = await ended((served) =>
      served.trailers({ "grpc-status": "5", "grpc-message": "gone", "x-big": "a".repeat(9000), "x-small": "kept" })
    )
    expect(status).toMatchObject({ code: 5, message: "gone" })
    expect(reasonOf(status)).toBeUndefined()
    expect(trailer(status, "x-small")).toBe("kept")
    expect(headerBytes(status.trailers)).toBeLessThanOrEqual(7168)
    await unharmed()
  })

  it("sends 9 kB of initial metadata: the stream goes on, what does not fit is left out", async () => {
    const unharmed = await neighbour(lab())
    const call = lab().rawGateway().call({ metadata: [["x-who", "victim"]], requests: [request()] })
    const served = await lab().worker.callWith("x-who", "victim")
    served.sendHeaders([["x-big", "a".repeat(9000)], ["x-small", "kept"]])
    served.answer(1)
    const headers = await call.headers
    expect(headers.get("x-small")).toEqual(["kept"])
    expect(headerBytes(headers)).toBeLessThanOrEqual(7168)
    expect((await call.status).code).toBe(0)
    await unharmed()
  })

  // A lone surrogate in UTF-8, half a character, bytes that are no percent-encoding, and raw bytes.
  it.each(["%ED%A0%80 bad", "%E6%BB", "100% %zz", "%", "caf\u00e9"])(
    "sends the status message \"%s\": the code stays, the gateway can read it",
    async (raw) => {
      for (const first of [0, 1]) {
        const unharmed = await neighbour(lab())
        const status = await ended((served) => {
          const fields = { "grpc-status": "8", "grpc-message": raw }
          if (first > 0) served.trailers(fields)
          else served.respond({ ":status": "200", "content-type": "application/grpc", ...fields }, true)
        }, first)
        expect([status.code, reasonOf(status)]).toEqual([8, undefined])
        expect(status.message).not.toContain("not percent-encoded")
        expect(status.message.isWellFormed()).toBe(true)
        await unharmed()
      }
    }
  )

  it("sends http2-settings in its trailers: the gateway gets the status without it", async () => {
    const unharmed = await neighbour(lab())
    const status = await ended((served) =>
      served.trailers({ "grpc-status": "8", "grpc-message": "full", "x-why": "oom" }, [["http2-settings", "x"]])
    )
    expect(status).toMatchObject({ code: 8, message: "full" })
    expect(reasonOf(status)).toBeUndefined()
    expect(trailer(status, "x-why")).toBe("oom")
    expect(trailer(status, "http2-settings")).toBeUndefined()
    await unharmed()
  })

  it.each(["connection", "transfer-encoding", "upgrade", "keep-alive"])(
    "sends %s in its trailers: the gateway gets a status",
    async (name) => {
      const unharmed = await neighbour(lab())
      const status = await ended((served) => served.trailers({ "grpc-status": "8" }, [[name, "x"]]))
      expect([[8, undefined], [14, "worker_lost"]]).toContainEqual([status.code, reasonOf(status)])
      await unharmed()
    }
  )

  it("sends trailers that are the sidecar's or the hop's own: they do not pass", async () => {
    const status = await ended((served) =>
      served.trailers({
        "grpc-status": "5",
        "grpc-encoding": "gzip",
        "content-type": "text/html",
        date: "never",
        "user-agent": "x",
        "x-ok": "ok"
      })
    )
    expect([status.code, reasonOf(status)]).toEqual([5, undefined])
    expect(trailer(status, "x-ok")).toBe("ok")
    expect(trailer(status, "grpc-encoding")).toBeUndefined()
    expect(trailer(status, "user-agent")).toBeUndefined()
  })
})

describe.each(wires)("limits on the %s wire", (wire) => {
  const lab = useLab({
    wire,
    env: { SIDECAR_MAX_MESSAGE_BYTES: "100000", SIDECAR_MAX_CONCURRENT_STREAMS: "3" }
  })
  // grpc-js measures messages by itself.
  const tooLarge = wire === "http2" ? "message_too_large" : undefined

  it("refuse a request message over max_message_bytes", async () => {
    const call = lab().gateway.call({ requests: [request({ prompt: "a".repeat(100_001) })] })
    const status = await call.status
    expect([status.code, reasonOf(status)]).toEqual([8, tooLarge])
  })

  it("end a stream whose worker sends a message over max_message_bytes, after all that came before", async () => {
    const call = lab().rawGateway().call({ metadata: [["x-who", "big"]], requests: [request()] })
    const served = await lab().worker.callWith("x-who", "big")
    served.send(...tokens(3), token(3, "a".repeat(100_001)))
    const { messages, status } = await collect(call)
    expect([status.code, reasonOf(status)]).toEqual([8, tooLarge])
    expect(messages).toEqual(tokens(3))
    await served.cancelled.promise
  })

  it("refuse a stream beyond max_concurrent_streams at once, and take one when there is room again", async () => {
    const calls = Array.from(
      { length: 3 },
      () => lab().gateway.call({ metadata: [["x-who", "one of three"]], requests: [request()] })
    )
    const served = await Promise.all(calls.map(() => lab().worker.callWith("x-who", "one of three")))
    const status = await lab().gateway.call({ requests: [request()] }).status
    expect(status).toMatchObject({ code: 8, trailersOnly: true })
    expect(trailer(status, "cy-reason")).toBe("too_many_streams")
    for (const one of served) one.answer(1)
    for (const call of calls) expect((await call.status).code).toBe(0)
    await lab().sidecar.settled()
    const next = lab().gateway.call({ metadata: [["x-who", "next"]], requests: [request()] })
    ;(await lab().worker.callWith("x-who", "next")).answer(1)
    expect((await next.status).code).toBe(0)
  })
})
