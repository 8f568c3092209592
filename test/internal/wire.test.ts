import { describe, expect, it } from "vitest"
import { RequestBytes } from "../../src/internal/stream/requestBytes.ts"
import { peekRequest } from "../../src/internal/stream/requestIdentity.ts"
import { RequestLog, type RequestSink } from "../../src/internal/stream/requestLog.ts"
import { concat, frame, FrameCutter, payloads } from "../../src/internal/wire/frames.ts"
import * as GrpcMessage from "../../src/internal/wire/grpcMessage.ts"
import * as GrpcTimeout from "../../src/internal/wire/grpcTimeout.ts"
import { pass } from "../../src/internal/wire/metadata.ts"
import { Writer } from "../../src/internal/wire/protobuf.ts"
import type { FrameBatch } from "../../src/services/Wire.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
const words = (batches: ReadonlyArray<FrameBatch>) =>
  batches.flatMap((batch) => payloads(batch).map((payload) => new TextDecoder().decode(payload)))

describe("FrameCutter", () => {
  const wire = concat([frame(bytes("one")), frame(bytes("")), frame(bytes("three"), true)])

  it("hands on a chunk of whole frames as it is", () => {
    expect(new FrameCutter(100).push(wire)).toBe(wire)
  })

  it("cuts the same frames however the bytes are split", () => {
    for (let a = 0; a <= wire.length; a++) {
      for (let b = a; b <= wire.length; b++) {
        const cutter = new FrameCutter(100)
        const out = [wire.subarray(0, a), wire.subarray(a, b), wire.subarray(b)]
          .map((chunk) => cutter.push(chunk))
          .filter((batch) => batch !== undefined)
        expect(concat(out)).toEqual(wire)
        expect(cutter.pending).toBe(0)
      }
    }
  })

  it("cuts nothing after a frame over the limit, and what stood before it", () => {
    const cutter = new FrameCutter(4)
    expect(words([cutter.push(wire) ?? new Uint8Array()])).toEqual(["one", ""])
    expect(cutter.oversize).toBe(5)
    expect(cutter.push(frame(bytes("x")))).toBeUndefined()
  })
})

describe("what metadata passes", () => {
  it("takes a key for what it is, also one that every object has", () => {
    const source = Object.assign(Object.create(null), { constructor: "a", __proto__: "b", "x-a": "c" })
    source["__proto__"] = "b"
    const { metadata } = pass(source)
    expect(metadata["constructor"]).toBe("a")
    expect(Object.entries(metadata).sort()).toEqual([["__proto__", "b"], ["constructor", "a"], ["x-a", "c"]])
  })

  it("stops what belongs to a hop, and what is not well-formed", () => {
    const { metadata } = pass({
      "http2-settings": "x",
      "grpc-timeout": "1S",
      "te": "trailers",
      "x-bin": "AAEC",
      "y-bin": "not base64!",
      "x-text": "plain",
      "y-text": "caf\u00e9",
      "authorization": ["first", "second"]
    })
    expect({ ...metadata }).toEqual({ "x-bin": "AAEC", "x-text": "plain", "authorization": "first" })
  })

  it("keeps to the budget and says when something was left out", () => {
    const { bytes, cut, metadata } = pass({ a: "1", b: "x".repeat(100), c: "2" }, 80)
    expect(Object.keys(metadata)).toEqual(["a", "c"])
    expect(cut).toBe(true)
    expect(bytes).toBe(68)
  })
})

describe("grpc-message", () => {
  it("comes back as it went", () => {
    const text = "满了 100% \n#tag %zz ok"
    expect(GrpcMessage.decode(GrpcMessage.encode(text, 1000))).toBe(text)
  })

  it("replaces a lone surrogate, and is cut at a character's edge", () => {
    expect(GrpcMessage.encode("a\ud800b", 100)).toBe("a%EF%BF%BDb")
    expect(GrpcMessage.encode("满满", 10)).toBe("%E6%BB%A1")
  })
})

describe("grpc-timeout", () => {
  it("reads each unit and refuses the rest", () => {
    expect(["1H", "2M", "3S", "4m", "5u", "6n"].map(GrpcTimeout.parse)).toEqual([
      3_600_000,
      120_000,
      3000,
      4,
      0.005,
      6e-6
    ])
    for (const wrong of ["", "S", "1", "123456789S", "-5S", "1s ", "1.5S"]) expect(GrpcTimeout.parse(wrong)).toBeNaN()
    expect(GrpcTimeout.parse(undefined)).toBeUndefined()
  })

  it("writes at most eight digits, never less than what remains", () => {
    for (const millis of [0.2, 1, 1500.5, 99_999_999, 100_000_001, 3.6e14]) {
      const text = GrpcTimeout.format(millis)
      expect(text).toMatch(/^\d{1,8}[HMSmun]$/)
      expect(GrpcTimeout.parse(text)).toBeGreaterThanOrEqual(Math.min(millis, 99_999_999 * 3_600_000))
    }
  })
})

describe("RequestLog", () => {
  const call = () => {
    const sent: Array<FrameBatch> = []
    const worker: RequestSink = {
      write: (batch) => sent.push(batch) > 0,
      halfClose: () => {}
    }
    return { sent, worker }
  }

  it("sends everything again, also what came while there was no call and made it too large to keep", () => {
    const log = new RequestLog(20, new RequestBytes(() => 1000, () => undefined))
    const first = call()
    log.push(frame(bytes("first")), undefined)
    log.sendAll(first.worker)
    expect(log.replayable).toBe(true)
    log.rewind()
    log.push(frame(bytes("second, and long")), undefined)
    const second = call()
    log.sendAll(second.worker)
    expect(words(second.sent)).toEqual(["first", "second, and long"])
    expect(log.replayable).toBe(false)
  })

  it("loses the right to send again when it outgrows its limit", () => {
    const log = new RequestLog(20, new RequestBytes(() => 1000, () => undefined))
    const { sent, worker } = call()
    log.push(frame(bytes("first")), worker)
    log.push(frame(bytes("and much more than fits")), worker)
    expect(words(sent)).toEqual(["first", "and much more than fits"])
    expect(log.replayable).toBe(false)
  })
})

describe("the identity of a stream", () => {
  it("keeps the order of priorities, also of negative ones", () => {
    const read = (priority: number) => peekRequest(new Writer().varint(4, priority).finish()).priority
    expect([-2_147_483_648, -5, -1, 0, 7, 2_147_483_647].map(read)).toEqual([
      -2_147_483_648,
      -5,
      -1,
      0,
      7,
      2_147_483_647
    ])
  })

  it("counts the characters of a prompt, not its bytes", () => {
    expect(peekRequest(new Writer().string(2, "你好, 😀").finish()).promptChars).toBe(5)
  })
})
