import { describe, expect, it } from "vitest"
import { request } from "../support/protobuf.ts"
import { RawClient } from "./raw/client.ts"
import type { RawStream } from "./raw/connection.ts"
import {
  ErrorCode,
  Flag,
  frame,
  FrameType,
  goaway,
  message,
  padded,
  ping,
  Setting,
  settings,
  windowUpdate
} from "./raw/frames.ts"
import * as Hpack from "./raw/hpack.ts"
import { dataFrame, headersFrame, PREDICT, requestHeaders, wholeRequest } from "./raw/requests.ts"
import { OK, RESPONSE, wholeAnswer } from "./raw/worker.ts"
import { ANSWER, useRawLab } from "./rawLab.ts"

const asked = request({ prompt: "an odd gateway asks", tenant: "t", playerId: "p" })

describe("a gateway that is odd but legal", () => {
  const lab = useRawLab()
  const connect = (options = {}) => RawClient.connect(lab().lab.sidecar.address, options)

  /** Answers the next call, and holds that request and answer have passed byte for byte. */
  const exchange = async (answered: RawStream, requests = [asked]): Promise<void> => {
    const served = await lab().worker.nextCall()
    await served.ended.promise
    expect(served.messages).toEqual(requests)
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    await answered.over
    expect(answered.messages).toEqual(ANSWER)
    expect(answered.trailer("grpc-status")).toBe("0")
    expect(answered.reset.settled()).toBe(false)
  }

  it("may send every byte in a packet of its own", async () => {
    const client = await connect({ bytewise: true })
    await exchange(await client.request(1, asked))
  })

  it("may fail with a refused stream under way, and harms nobody", async () => {
    const client = await connect()
    const get = Hpack.encode([[":method", "GET"], [":scheme", "http"], [":path", "/x"], [":authority", "a"]])
    // DATA on stream 0 is a connection error (RFC 9113 §6.1).
    await client.send(
      frame(FrameType.HEADERS, Flag.END_HEADERS, 1, get),
      frame(FrameType.DATA, 0, 0, Buffer.from("x"))
    )
    const neighbour = await connect()
    await exchange(await neighbour.request(1, asked))
  })

  const soon = requestHeaders(PREDICT, ["grpc-timeout", "soon"])
  const html = requestHeaders().map(([name, value]) => [name, name === "content-type" ? "text/html" : value] as const)

  it("may half-close when it has its answer, and hears nothing more of that stream", async () => {
    const client = await connect()
    for (const [i, headers] of [requestHeaders(), soon, html].entries()) {
      const answered = client.stream(1 + 2 * i)
      await client.send(headersFrame(answered.id, headers), dataFrame(answered.id, message(asked)))
      if (i === 0) {
        const served = await lab().worker.nextCall()
        await served.connection.send(wholeAnswer(served.id, ANSWER))
      }
      await answered.ended.promise
      await client.send(dataFrame(answered.id, Buffer.alloc(0), true))
      await client.connection.settled("closed")
      expect(answered.reset.settled()).toBe(false)
    }
  })

  it("may never half-close, and is told after a while that nothing more is wanted", async () => {
    const client = await connect()
    await client.send(
      ...[requestHeaders(), soon, html].map((headers, i) => headersFrame(1 + 2 * i, headers)),
      dataFrame(1, message(asked))
    )
    const served = await lab().worker.nextCall()
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    for (const id of [1, 3, 5]) {
      expect(await client.stream(id).reset.promise).toBe(ErrorCode.NO_ERROR)
      expect(client.stream(id).ended.settled()).toBe(true)
    }
  })

  it("may cut its messages at every byte into DATA frames, empty ones among them", async () => {
    const client = await connect()
    const bytes = Buffer.concat([message(asked), message(asked)])
    const frames = [...bytes].flatMap((byte) => [dataFrame(1, Buffer.of(byte)), dataFrame(1, Buffer.alloc(0))])
    await client.send(headersFrame(1, requestHeaders()), ...frames.slice(0, 200))
    await client.send(...frames.slice(200), dataFrame(1, Buffer.alloc(0), true))
    await exchange(client.stream(1), [asked, asked])
  })

  it("may send its message in two DATA frames, wherever they are cut", async () => {
    const client = await connect()
    const bytes = message(asked)
    for (let cut = 0; cut <= bytes.length; cut++) {
      const id = 1 + 2 * cut
      await client.send(headersFrame(id, requestHeaders()), dataFrame(id, bytes.subarray(0, cut)))
      await client.send(dataFrame(id, bytes.subarray(cut), true))
      await exchange(client.stream(id))
    }
  })

  it("may put several messages into one DATA frame", async () => {
    const client = await connect()
    const both = Buffer.concat([message(asked), message(Buffer.alloc(0)), message(asked)])
    await client.send(headersFrame(1, requestHeaders()), dataFrame(1, both, true))
    await exchange(client.stream(1), [asked, Buffer.alloc(0), asked])
  })

  it("may pad HEADERS and DATA", async () => {
    const client = await connect()
    const block = padded(Hpack.encode(requestHeaders()), 255)
    await client.send(
      frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.PADDED, 1, block),
      frame(FrameType.DATA, Flag.PADDED, 1, padded(message(asked).subarray(0, 3), 200)),
      frame(FrameType.DATA, Flag.PADDED | Flag.END_STREAM, 1, padded(message(asked).subarray(3), 0))
    )
    await exchange(client.stream(1))
  })

  it("may spread its headers over CONTINUATION frames", async () => {
    const client = await connect()
    const block = Hpack.encode(requestHeaders())
    const pieces = [0, 1, 2, 3, 4, 5].map((i) => block.subarray(i * 20, i === 5 ? undefined : (i + 1) * 20))
    const [first = block, ...rest] = pieces
    await client.send(
      frame(FrameType.HEADERS, 0, 1, first),
      ...rest.map((piece, i) => frame(FrameType.CONTINUATION, i === rest.length - 1 ? Flag.END_HEADERS : 0, 1, piece)),
      dataFrame(1, message(asked), true)
    )
    await exchange(client.stream(1))
  })

  it("may interleave the pieces of many streams", async () => {
    const client = await connect()
    const ids = Array.from({ length: 20 }, (_, i) => 1 + 2 * i)
    const requests = ids.map((id) => request({ prompt: `stream ${id}`, model: "m".repeat(id) }))
    const whole = requests.map((bytes) => message(bytes))
    await client.send(...ids.map((id) => headersFrame(id, requestHeaders(PREDICT, ["x-stream", String(id)]))))
    for (let at = 0; at < Math.max(...whole.map((bytes) => bytes.length)); at++) {
      const pieces = ids.map((id, i) => [id, whole[i]!.subarray(at, at + 1)] as const)
      await client.send(...pieces.filter(([, piece]) => piece.length > 0).map((piece) => dataFrame(...piece)))
    }
    await client.send(...ids.toReversed().map((id) => dataFrame(id, Buffer.alloc(0), true)))
    const served = await Promise.all(ids.map(() => lab().worker.nextCall()))
    await Promise.all(served.map((stream) => stream.ended.promise))
    expect(served.map((stream) => String(stream.messages[0])).toSorted()).toEqual(requests.map(String).toSorted())
    for (const stream of served) {
      await stream.connection.send(wholeAnswer(stream.id, [...stream.messages, ANSWER.at(-1)!]))
    }
    for (const [i, id] of ids.entries()) {
      await client.stream(id).over
      expect(client.stream(id).messages[0]).toEqual(requests[i])
      expect(client.stream(id).trailer("grpc-status")).toBe("0")
    }
  })

  it("may open its windows by one byte at a time", async () => {
    const client = await connect({ credit: false, settings: [[Setting.INITIAL_WINDOW_SIZE, 1]] })
    const answered = await client.request(1, asked)
    const served = await lab().worker.nextCall()
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    const total = Buffer.concat(ANSWER.map((bytes) => message(bytes))).length
    // Each byte is credited when it is there, also the last one: nghttp2 asks for more data, and so learns of the end, only
    // while the window is open, although trailers need none.
    for (let got = 1; got <= total; got++) {
      await answered.received(got)
      expect(answered.bytes.length).toBe(got)
      await client.send(windowUpdate(1, 1))
    }
    await answered.over
    expect(answered.messages).toEqual(ANSWER)
    expect(answered.trailer("grpc-status")).toBe("0")
  })

  it("may shut its window and open it by SETTINGS in mid-stream", async () => {
    const client = await connect({ credit: false, settings: [[Setting.INITIAL_WINDOW_SIZE, 0]] })
    const answered = await client.request(1, asked)
    const served = await lab().worker.nextCall()
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    await answered.blocks.count(1, "response headers")
    await client.connection.settled("shut")
    expect(answered.bytes.length).toBe(0)
    await client.send(settings([Setting.INITIAL_WINDOW_SIZE, 10]))
    await answered.received(10)
    // Below zero now: ten bytes were taken of a window that is four.
    await client.send(settings([Setting.INITIAL_WINDOW_SIZE, 4]))
    await client.connection.settled("negative")
    expect(answered.bytes.length).toBe(10)
    await client.send(windowUpdate(1, 7))
    await answered.received(11)
    await client.connection.settled("one more")
    expect(answered.bytes.length).toBe(11)
    await client.send(settings([Setting.INITIAL_WINDOW_SIZE, 65_535]))
    await answered.over
    expect(answered.messages).toEqual(ANSWER)
  })

  it("may change every other setting in mid-stream, and is acknowledged each time", async () => {
    const client = await connect()
    const answered = await client.request(1, asked)
    const served = await lab().worker.nextCall()
    await client.send(
      settings([Setting.HEADER_TABLE_SIZE, 0]),
      settings([Setting.MAX_FRAME_SIZE, 16_777_215], [Setting.MAX_CONCURRENT_STREAMS, 0]),
      settings([Setting.HEADER_TABLE_SIZE, 65_536], [0xf0f0, 7], [Setting.MAX_HEADER_LIST_SIZE, 8192]),
      settings([Setting.ENABLE_PUSH, 0])
    )
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    await answered.over
    expect(answered.messages).toEqual(ANSWER)
    await client.connection.settled("done")
    const acknowledged = client.connection.frames.all.filter(({ type, flags }) =>
      type === FrameType.SETTINGS && (flags & Flag.ACK) !== 0
    )
    expect(acknowledged).toHaveLength(5)
  })

  it("may send PRIORITY, priority fields in HEADERS, PING, and frames that nobody knows", async () => {
    const client = await connect()
    const weight = Buffer.from([0, 0, 0, 0, 200])
    await client.send(
      frame(FrameType.PRIORITY, 0, 5, weight),
      frame(0xbb, 0xff, 0, Buffer.from("unknown")),
      frame(
        FrameType.HEADERS,
        Flag.END_HEADERS | Flag.PRIORITY,
        1,
        Buffer.concat([weight, Hpack.encode(requestHeaders())])
      ),
      frame(0xbc, 0, 1, Buffer.from("unknown")),
      frame(FrameType.PRIORITY, 0, 1, weight),
      ping(false, Buffer.from("odd-ping")),
      dataFrame(1, message(asked), true)
    )
    await exchange(client.stream(1))
    expect(
      client.connection.frames.all.some(({ type, payload }) =>
        type === FrameType.PING && payload.toString() === "odd-ping"
      )
    ).toBe(true)
  })

  it("may compress its headers with an index and with trailers of its own at the end", async () => {
    const client = await connect()
    const headers = Hpack.encodeIndexing(requestHeaders())
    await client.send(
      frame(FrameType.HEADERS, Flag.END_HEADERS, 1, headers),
      dataFrame(1, message(asked)),
      headersFrame(1, [["x-request-trailer", "legal in HTTP/2, without a meaning in gRPC"]], Flag.END_STREAM)
    )
    await exchange(client.stream(1))
    await client.send(
      frame(FrameType.HEADERS, Flag.END_HEADERS, 3, Hpack.encodeIndexed(67, 66, 65, 64, 63, 62)),
      dataFrame(3, message(asked), true)
    )
    await exchange(client.stream(3))
  })

  it("may mark fields that must never be indexed: the mark goes to the worker, and the worker's to the gateway", async () => {
    const client = await connect()
    const secret = [["x-plan", "private"]] as const
    const head = Buffer.concat([
      Hpack.encode(requestHeaders(PREDICT, ["x-stage", "public"])),
      Hpack.encodeNever(secret)
    ])
    // The third time a field that repeats is in the table.
    for (const id of [1, 3, 5]) {
      await client.send(frame(FrameType.HEADERS, Flag.END_HEADERS, id, head), dataFrame(id, message(asked), true))
      const served = await lab().worker.nextCall(["x-plan", "private"])
      expect(served.trailer("x-stage")).toBe("public")
      expect(served.never).toEqual([new Set(["x-plan"])])
      await served.connection.send(
        frame(
          FrameType.HEADERS,
          Flag.END_HEADERS,
          served.id,
          Buffer.concat([Hpack.encode([...RESPONSE, ["x-stage", "b"]]), Hpack.encodeNever([["x-seed", "7"]])])
        ),
        ...ANSWER.map((payload) => dataFrame(served.id, message(payload))),
        frame(
          FrameType.HEADERS,
          Flag.END_HEADERS | Flag.END_STREAM,
          served.id,
          Buffer.concat([Hpack.encode([...OK, ["x-cost", "3"]]), Hpack.encodeNever([["x-rank", "9"]])])
        )
      )
      const answered = client.stream(id)
      await answered.over
      expect(answered.trailer("x-rank")).toBe("9")
      expect(answered.never).toEqual([new Set(["x-seed"]), new Set(["x-rank"])])
    }
  })

  it("may say GOAWAY and still have the answers to what it has asked", async () => {
    const client = await connect()
    const answered = await client.request(1, asked)
    await client.send(goaway(0, ErrorCode.NO_ERROR))
    await client.connection.settled("goaway")
    await exchange(answered)
  })

  it("is left by itself when it breaks the protocol: the neighbour's stream goes on", async () => {
    const neighbour = await connect()
    const answered = await neighbour.request(1, asked)
    const served = await lab().worker.nextCall()
    const faults: ReadonlyArray<readonly [code: number, bytes: Buffer]> = [
      [ErrorCode.PROTOCOL_ERROR, dataFrame(99, Buffer.from("on an idle stream"))],
      [ErrorCode.FRAME_SIZE_ERROR, frame(FrameType.PING, 0, 0, Buffer.alloc(7))],
      [ErrorCode.FLOW_CONTROL_ERROR, Buffer.concat([windowUpdate(0, 0x7fffffff), windowUpdate(0, 0x7fffffff)])],
      [ErrorCode.PROTOCOL_ERROR, headersFrame(2, requestHeaders())],
      [ErrorCode.PROTOCOL_ERROR, frame(FrameType.PUSH_PROMISE, Flag.END_HEADERS, 1, Buffer.alloc(4))]
    ]
    for (const [code, bytes] of faults) {
      const client = await connect()
      await client.connection.settled("alive")
      await client.send(bytes)
      expect((await client.connection.goaway.promise).code).toBe(code)
      await client.connection.closed.promise
    }
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    await answered.over
    expect(answered.messages).toEqual(ANSWER)
  })

  it("has its stream cancelled at the worker when it resets it, and nothing else", async () => {
    const client = await connect()
    await client.send(wholeRequest(1, asked))
    const first = await lab().worker.nextCall()
    await client.send(wholeRequest(3, asked))
    const second = await lab().worker.nextCall()
    await client.connection.reset(1, ErrorCode.CANCEL)
    expect(await first.reset.promise).toBe(ErrorCode.CANCEL)
    expect(second.reset.settled()).toBe(false)
    await second.connection.send(wholeAnswer(second.id, ANSWER))
    await client.stream(3).over
    expect(client.stream(3).messages).toEqual(ANSWER)
  })

  it("has its deadline kept while it does not read", async () => {
    const client = await connect({ credit: false, settings: [[Setting.INITIAL_WINDOW_SIZE, 0]] })
    const answered = await client.request(1, asked, ["grpc-timeout", "300m"])
    const served = await lab().worker.nextCall()
    await served.connection.send(wholeAnswer(served.id, ANSWER.slice(0, -1)).subarray(0, -12))
    expect(await served.reset.promise).toBe(ErrorCode.CANCEL)
    await answered.over
    // RST_STREAM CANCEL after the deadline: its library makes DEADLINE_EXCEEDED of it (gRPC over HTTP/2, "Errors").
    const seen = answered.reset.settled() ? await answered.reset.promise : answered.trailer("grpc-status")
    expect([ErrorCode.CANCEL, "4"]).toContain(seen)
  })
})
