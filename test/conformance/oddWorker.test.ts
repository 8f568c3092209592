import { randomUUID } from "node:crypto"
import { gunzipSync, gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { collect } from "../support/gateway.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"
import { RawClient } from "./raw/client.ts"
import { type Fields, type RawStream, valueOf } from "./raw/connection.ts"
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
import { dataFrame, headersFrame, PREDICT, requestHeaders } from "./raw/requests.ts"
import { OK, RESPONSE, wholeAnswer } from "./raw/worker.ts"
import { ANSWER, useRawLab } from "./rawLab.ts"

const asked = request({ prompt: "an odd worker answers", tenant: "t", playerId: "p" })

/** How a call has ended for its gateway; without a `reason` it was the worker that ended it. */
interface End {
  readonly code: number
  readonly message: string
  readonly reason: string | undefined
}

describe("a worker that is odd but legal", () => {
  const lab = useRawLab({ env: { SIDECAR_TRIP_AFTER: "1000" } })

  /** A new call, as the gateway and as the worker have it. */
  const call = async (
    options: { readonly open?: boolean; readonly headers?: Hpack.HeaderList } = {}
  ): Promise<readonly [asking: RawStream, served: RawStream]> => {
    const mark = ["x-call", randomUUID()] as const
    const client = await RawClient.connect(lab().lab.sidecar.address)
    await client.send(
      headersFrame(1, requestHeaders(PREDICT, mark, ...(options.headers ?? []))),
      dataFrame(1, message(asked), options.open !== true)
    )
    return [client.stream(1), await lab().worker.nextCall(mark)]
  }

  /** How the call has ended for the gateway. */
  const endOf = async (asking: RawStream): Promise<End> => {
    await asking.over
    expect(asking.ended.settled()).toBe(true)
    return {
      code: Number(asking.trailer("grpc-status")),
      message: decodeURIComponent(asking.trailer("grpc-message") ?? ""),
      reason: asking.trailer("cy-reason")
    }
  }

  const expectAnswer = async (asking: RawStream, answer: ReadonlyArray<Buffer> = ANSWER): Promise<void> => {
    const { code } = await endOf(asking)
    expect(asking.messages).toEqual(answer)
    expect(code).toBe(0)
  }

  /** What the gateway is told for an answer of these headers alone. */
  const told = async (headers: Hpack.HeaderList): Promise<End> => {
    const [asking, served] = await call()
    await served.connection.send(headersFrame(served.id, headers, Flag.END_STREAM))
    const end = await endOf(asking)
    expect(asking.blocks.all).toHaveLength(1)
    return end
  }

  it("may send every byte in a packet of its own", async () => {
    const [asking, served] = await call()
    for (const byte of wholeAnswer(served.id, ANSWER)) {
      await served.connection.send(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    await expectAnswer(asking)
  })

  it("may cut its messages at every byte into DATA frames, empty ones among them", async () => {
    const [asking, served] = await call()
    const bytes = Buffer.concat(ANSWER.map((one) => message(one)))
    await served.connection.send(
      headersFrame(served.id, RESPONSE),
      ...[...bytes].flatMap((byte) => [dataFrame(served.id, Buffer.of(byte)), dataFrame(served.id, Buffer.alloc(0))]),
      headersFrame(served.id, OK, Flag.END_STREAM)
    )
    await expectAnswer(asking)
  })

  it("may send its messages in two DATA frames, wherever they are cut", async () => {
    const bytes = Buffer.concat(ANSWER.map((one) => message(one)))
    for (let cut = 0; cut <= bytes.length; cut++) {
      const [asking, served] = await call()
      await served.connection.send(
        headersFrame(served.id, RESPONSE),
        dataFrame(served.id, bytes.subarray(0, cut)),
        dataFrame(served.id, bytes.subarray(cut))
      )
      await served.connection.send(headersFrame(served.id, OK, Flag.END_STREAM))
      await expectAnswer(asking)
    }
  })

  it("may pad its frames, spread headers and trailers over CONTINUATION, and tell 103 before 200", async () => {
    const [asking, served] = await call()
    const { connection, id } = served
    const spread = (headers: Hpack.HeaderList, flags: number): ReadonlyArray<Buffer> => {
      const block = Hpack.encode(headers)
      return [
        frame(FrameType.HEADERS, flags, id, block.subarray(0, 1)),
        // nghttp2 takes no more than eight of them (CVE-2024-28182).
        ...[1, 2, 3, 4, 5, 6, 7].map((at) => frame(FrameType.CONTINUATION, 0, id, block.subarray(at, at + 1))),
        frame(FrameType.CONTINUATION, Flag.END_HEADERS, id, block.subarray(8))
      ]
    }
    await connection.send(headersFrame(id, [[":status", "103"], ["link", "</early>"]]))
    await connection.send(frame(
      FrameType.HEADERS,
      Flag.END_HEADERS | Flag.PADDED,
      id,
      padded(Hpack.encode([...RESPONSE, ["x-worker", "odd"]]), 100)
    ))
    await connection.send(
      ...ANSWER.map((one, i) => frame(FrameType.DATA, Flag.PADDED, id, padded(message(one), i * 50)))
    )
    for (const one of spread([["grpc-status", "0"], ["x-last", "yes"]], Flag.END_STREAM)) await connection.send(one)
    await expectAnswer(asking)
    expect(valueOf(asking.blocks.all[0]!, "x-worker")).toBe("odd")
    expect(asking.trailer("x-last")).toBe("yes")
  })

  it("may interleave the pieces of many streams", async () => {
    const calls = await Promise.all(Array.from({ length: 20 }, () => call()))
    const { connection } = calls[0]![1]
    const answers = calls.map(([, served], i) => [...tokens(i + 1, served.id), endOfStream(served.id)])
    const whole = answers.map((answer) => Buffer.concat(answer.map((one) => message(one))))
    await connection.send(...calls.map(([, served]) => headersFrame(served.id, RESPONSE)))
    for (let at = 0; at < Math.max(...whole.map((bytes) => bytes.length)); at += 3) {
      const pieces = calls.map(([, served], i) => [served.id, whole[i]!.subarray(at, at + 3)] as const)
      // Not as empty frames: Node counts those, and ends a connection that has sent a thousand (CVE-2019-9518).
      await connection.send(...pieces.filter(([, piece]) => piece.length > 0).map((piece) => dataFrame(...piece)))
    }
    await connection.send(...calls.map(([, served]) => headersFrame(served.id, OK, Flag.END_STREAM)))
    for (const [i, [asking]] of calls.entries()) await expectAnswer(asking, answers[i])
  })

  it("may send SETTINGS, PING, PRIORITY, ALTSVC and frames that nobody knows in mid-stream", async () => {
    const [asking, served] = await call()
    const { connection, id } = served
    const extras = [
      settings([Setting.HEADER_TABLE_SIZE, 0], [Setting.INITIAL_WINDOW_SIZE, 1]),
      settings([Setting.MAX_FRAME_SIZE, 1_000_000], [0xf0f0, 1]),
      ping(false, Buffer.from("odd-ping")),
      frame(FrameType.PRIORITY, 0, id, Buffer.from([0, 0, 0, 0, 1])),
      frame(0x0a, 0, id, Buffer.from("\0\0h2=\":1\"")),
      frame(0xbb, 0xff, id, Buffer.from("unknown")),
      settings([Setting.INITIAL_WINDOW_SIZE, 65_535], [Setting.HEADER_TABLE_SIZE, 4096])
    ]
    await connection.send(headersFrame(id, RESPONSE))
    for (const [i, one] of ANSWER.entries()) await connection.send(extras[i]!, dataFrame(id, message(one)))
    await connection.send(...extras.slice(ANSWER.length), headersFrame(id, OK, Flag.END_STREAM))
    await expectAnswer(asking)
    await connection.frames.first(
      ({ type, payload }) => type === FrameType.PING && payload.toString() === "odd-ping",
      "an answer to PING"
    )
  })

  it("may answer before the gateway has half-closed, and reset with NO_ERROR after", async () => {
    const [asking, served] = await call({ open: true })
    await served.received(asked.length + 5)
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    await served.connection.reset(served.id, ErrorCode.NO_ERROR)
    await expectAnswer(asking)
  })

  it("may end with headers only, with a message in percent-encoding that is not quite one", async () => {
    expect(await told([...RESPONSE, ["grpc-status", "5"], ["grpc-message", "100%25 %E6%BB%A1 50% %zz"]]))
      .toEqual({ code: 5, message: "100% 满 50% %zz", reason: undefined })
  })

  it("may send binary metadata with and without padding, joined or repeated", async () => {
    const [asking, served] = await call()
    await served.connection.send(
      headersFrame(served.id, [...RESPONSE, ["x-a-bin", "/+8="], ["x-b-bin", "/+8"]]),
      ...ANSWER.map((one) => dataFrame(served.id, message(one))),
      headersFrame(
        served.id,
        [...OK, ["x-c-bin", "AQ"], ["x-c-bin", "Ag=="], ["x-d", "1"], ["x-d", "2"]],
        Flag.END_STREAM
      )
    )
    await expectAnswer(asking)
    const bytes = (block: Fields | undefined, name: string) =>
      (valueOf(block ?? [], name) ?? "").split(",").map((one) => Buffer.from(one.trim(), "base64").toString("hex"))
    expect(bytes(asking.blocks.all[0], "x-a-bin")).toEqual(["ffef"])
    expect(bytes(asking.blocks.all[0], "x-b-bin")).toEqual(["ffef"])
    expect(bytes(asking.blocks.all[1], "x-c-bin")).toEqual(["01", "02"])
    expect(asking.trailer("x-d")).toBe("1, 2")
  })

  it("may compress its messages when the gateway takes that: they pass as they are, and are counted", async () => {
    const [asking, served] = await call({ headers: [["grpc-accept-encoding", "identity,gzip"]] })
    const before = await lab().lab.sidecar.metrics()
    const compressed = ANSWER.map((one) => gzipSync(one))
    // The gateway may not have been able to say what it takes: then the worker must not compress.
    const accepted = valueOf(served.blocks.all[0]!, "grpc-accept-encoding")?.includes("gzip") ?? false
    const answer = accepted ? compressed : ANSWER
    await served.connection.send(
      headersFrame(served.id, accepted ? [...RESPONSE, ["grpc-encoding", "gzip"]] : RESPONSE),
      ...answer.map((one) => dataFrame(served.id, message(one, accepted))),
      headersFrame(served.id, OK, Flag.END_STREAM)
    )
    expect((await endOf(asking)).code).toBe(0)
    expect(asking.messages.map((one) => (accepted ? gunzipSync(one) : one))).toEqual(ANSWER)
    const after = await lab().lab.sidecar.settled()
    const name = "sidecar_tokens_processed_total"
    expect(after.get(name) - before.get(name)).toBe(ANSWER.length - 1)
  })

  it.each([
    ["HTTP 503 without gRPC", 14, [[":status", "503"], ["content-type", "text/plain"]]],
    ["HTTP 404 without gRPC", 12, [[":status", "404"]]],
    ["HTTP 401 without gRPC", 16, [[":status", "401"]]],
    ["HTTP 429 without gRPC", 14, [[":status", "429"]]],
    ["an unknown content type", 2, [[":status", "200"], ["content-type", "text/html"]]],
    ["a status that is no number", 2, [...RESPONSE, ["grpc-status", "abc"]]],
    ["a status beyond the known ones", 2, [...RESPONSE, ["grpc-status", "99"]]]
  ])("may answer with %s: the gateway is told %i", async (_, code, headers) => {
    const seen = await told(headers.map(([name, value]) => [String(name), String(value)] as const))
    expect([seen.code, seen.reason]).toEqual([code, undefined])
  })

  it.each([
    [ErrorCode.CANCEL, 14],
    [ErrorCode.INTERNAL_ERROR, 14],
    [ErrorCode.ENHANCE_YOUR_CALM, 14]
  ])("may reset with code %i after a token: the gateway has the token, then %i", async (reset, code) => {
    const [asking, served] = await call()
    await served.connection.send(headersFrame(served.id, RESPONSE), dataFrame(served.id, message(ANSWER[0]!)))
    await asking.received(1)
    await served.connection.reset(served.id, reset)
    expect((await endOf(asking)).code).toBe(code)
    expect(asking.messages).toEqual(ANSWER.slice(0, 1))
    expect(asking.trailer("cy-reason")).toBe("worker_lost")
  })

  it("may refuse a stream that it has not seen: it is sent once more, and the gateway notices nothing", async () => {
    const [asking, served] = await call()
    await served.connection.reset(served.id, ErrorCode.REFUSED_STREAM)
    const again = await lab().worker.nextCall()
    await again.ended.promise
    expect(again.messages).toEqual([asked])
    await again.connection.send(wholeAnswer(again.id, ANSWER))
    await expectAnswer(asking)
  })

  it("may go away gracefully: its streams finish, new ones come on a new connection", async () => {
    const [asking, served] = await call()
    await served.connection.send(headersFrame(served.id, RESPONSE), dataFrame(served.id, message(ANSWER[0]!)))
    const connections = lab().worker.connections.all.length
    await served.connection.send(goaway(served.id, ErrorCode.NO_ERROR))
    await lab().worker.connections.count(connections + 1, "a new connection")
    await lab().lab.sidecar.connected()
    const [second, servedAnew] = await call()
    expect(servedAnew.connection).not.toBe(served.connection)
    await servedAnew.connection.send(wholeAnswer(servedAnew.id, ANSWER))
    await expectAnswer(second)
    await served.connection.send(
      ...ANSWER.slice(1).map((one) => dataFrame(served.id, message(one))),
      headersFrame(served.id, OK, Flag.END_STREAM)
    )
    await expectAnswer(asking)
  })
})

describe("a worker with a window of one byte", () => {
  const lab = useRawLab({}, { settings: [[Setting.INITIAL_WINDOW_SIZE, 1]] })

  it("gets every request byte for byte", async () => {
    const asking = lab().lab.gateway.call({ requests: [asked, asked] })
    const served = await lab().worker.nextCall()
    await served.ended.promise
    expect(served.messages).toEqual([asked, asked])
    expect(Math.max(...served.data.all.map((bytes) => bytes.length))).toBe(1)
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    expect((await collect(asking)).messages).toEqual(ANSWER)
  })
})

describe("a worker that takes one stream at a time", () => {
  const lab = useRawLab({}, { settings: [[Setting.MAX_CONCURRENT_STREAMS, 1]] })

  it("gets the streams one after the other, and Health between them", async () => {
    const asking = Array.from(
      { length: 5 },
      (_, i) => lab().lab.gateway.call({ requests: [request({ prompt: `stream ${i}` })] })
    )
    for (let i = 0; i < asking.length; i++) {
      const served = await lab().worker.nextCall()
      await served.ended.promise
      await served.connection.send(wholeAnswer(served.id, ANSWER))
    }
    for (const one of asking) expect((await collect(one)).messages).toEqual(ANSWER)
  })
})

describe("a worker that writes its windows in drops", () => {
  const lab = useRawLab({}, { credit: false, settings: [[Setting.INITIAL_WINDOW_SIZE, 0]] })

  it("gets the request when it opens the window, and not before", async () => {
    const asking = lab().lab.gateway.call({ requests: [asked] })
    const served = await lab().worker.nextCall()
    await served.connection.settled("shut")
    expect(served.bytes.length).toBe(0)
    await served.connection.send(windowUpdate(served.id, 3))
    await served.received(3)
    await served.connection.send(settings([Setting.INITIAL_WINDOW_SIZE, 65_535]))
    await served.ended.promise
    expect(served.messages).toEqual([asked])
    await served.connection.send(wholeAnswer(served.id, ANSWER))
    expect((await collect(asking)).messages).toEqual(ANSWER)
  })
})
