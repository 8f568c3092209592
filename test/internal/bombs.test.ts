import { Effect } from "effect"
import { deflateSync, gzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { decodeControl, decodeHealthResponse } from "../../src/internal/connection/workerRpc.ts"
import { commandOf } from "../../src/internal/handlers/aiMessages.ts"
import { peekBatch } from "../../src/internal/stream/peek.ts"
import { peekRequest } from "../../src/internal/stream/requestIdentity.ts"
import { makeDecompress } from "../../src/internal/wire/decompress.ts"
import { concat, frame } from "../../src/internal/wire/frames.ts"
import { inflater } from "../../src/internal/wire/inflate.ts"
import { lastBytes, MAX_FIELDS, visit, Writer } from "../../src/internal/wire/protobuf.ts"
import { Code } from "../../src/services/Status.ts"
import { noReplies } from "../../src/services/UsageMeter.ts"

const bytes = (text: string) => new TextEncoder().encode(text)
/** A message of `times` fields of three bytes. */
const tinyFields = (field: number, times: number) =>
  new Uint8Array(times * 3).map((_, at) => [field * 8 + 2, 1, 0x6d][at % 3] ?? 0)

describe("a message of very many fields", () => {
  const bomb = tinyFields(1, 1_000_000)

  it("is walked up to a bound", () => {
    let fields = 0
    expect(visit(bomb, { bytes: () => void fields++ })).toBe(false)
    expect(fields).toBe(MAX_FIELDS)
    fields = 0
    expect(visit(tinyFields(1, MAX_FIELDS), { bytes: () => void fields++ })).toBe(true)
    expect(fields).toBe(MAX_FIELDS)
  })

  it("is decoded once, however often a field is repeated: the last one counts", () => {
    const repeated = concat([tinyFields(1, 5000), new Writer().string(1, "last").finish()])
    expect(peekRequest(repeated).modelId).toBe("last")
    expect(commandOf(concat([tinyFields(2, 5000), new Writer().string(2, "sidecar.x").finish()]))).toBe("sidecar.x")
    expect(lastBytes(new Writer().string(2, "x").finish(), 1)).toBeUndefined()
  })

  it("has the identity of what was looked at, is no command, no Health answer and no token", () => {
    expect(peekRequest(bomb)).toMatchObject({ modelId: "m", tenant: "" })
    expect(commandOf(tinyFields(2, 1_000_000))).toBeUndefined()
    expect(decodeControl(bomb)).toBeUndefined()
    expect(decodeHealthResponse(tinyFields(2, 1_000_000))).toBeUndefined()
    const counts = noReplies()
    peekBatch(frame(tinyFields(2, 1_000_000)), counts, { noticePrefixes: [] })
    expect(counts).toMatchObject({ frames: 1, chunks: 0, malformed: 1 })
  })
})

describe("what a worker says of itself", () => {
  it("is kept up to 256 figures with short names, long texts cut", () => {
    const writer = new Writer().varint(1, 1)
    const entry = (key: string, value: string) => writer.message(2, new Writer().string(1, key).string(2, value))
    entry("status", "reloading")
    entry("k".repeat(129), "not kept")
    entry("long", "v".repeat(5000))
    for (let n = 0; n < 1000; n++) entry(`figure ${n}`, "1")
    const answer = decodeHealthResponse(writer.finish())
    expect(answer?.healthy).toBe(true)
    expect(answer?.metrics["status"]).toBe("reloading")
    expect(answer?.metrics["long"]?.length).toBe(1024)
    expect(Object.keys(answer?.metrics ?? {}).length).toBe(255)
  })

  it("may have a key that every object has", () => {
    const entry = new Writer().string(1, "__proto__").string(2, "x")
    const answer = decodeHealthResponse(new Writer().message(2, entry).string(2, "").finish())
    expect(Object.entries(answer?.metrics ?? {})).toEqual([["__proto__", "x"], ["", ""]])
  })
})

describe("a long prompt", () => {
  it("is counted to the end, slice by slice", async () => {
    const prompt = "满a".repeat(1_000_000)
    const identity = peekRequest(new Writer().string(2, prompt).string(1, "m").finish())
    expect(identity.modelId).toBe("m")
    expect(identity.promptChars).toBeLessThan(2_000_000)
    const deadline = performance.now() + 20_000
    while (identity.promptChars < 2_000_000 && performance.now() < deadline) {
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(identity.promptChars).toBe(2_000_000)
  })
})

describe("looking into compressed replies", () => {
  it("opens both encodings, and nothing that opens to more than a megabyte", () => {
    const open = inflater({ now: () => 0, onLimit: () => undefined })
    expect(open(gzipSync("tokens"))).toEqual(Buffer.from("tokens"))
    expect(open(deflateSync("tokens"))).toEqual(Buffer.from("tokens"))
    expect(open(bytes("neither"))).toBeUndefined()
    expect(inflater({ now: () => 0, onLimit: () => undefined })(gzipSync(Buffer.alloc(2_000_000)))).toBeUndefined()
  })

  it("stops for a while when much was opened at once, and says so", () => {
    let now = 0
    let limits = 0
    const open = inflater({ now: () => now, onLimit: () => void limits++ })
    const bomb = gzipSync(Buffer.alloc(1_000_000))
    const opened = Array.from({ length: 20 }, () => open(bomb)).filter((one) => one !== undefined).length
    expect(opened).toBeLessThan(4)
    expect(limits).toBe(20 - opened)
    now += 1000
    expect(open(gzipSync("tokens"))).toEqual(Buffer.from("tokens"))
  })

  it("looks into no compressed message of more than a quarter of a megabyte", () => {
    // Empty gzip members: they open to nothing, and take their time.
    const members = concat(Array.from({ length: 20_000 }, () => gzipSync("")))
    expect(inflater({ now: () => 0, onLimit: () => undefined })(members)).toBeUndefined()
  })
})

describe("opening compressed requests", () => {
  const limits = { inBytes: 1000, outBytes: 5000, atOnce: 2 }
  const run = (message: Uint8Array, encoding: string | undefined) =>
    Effect.runPromise(Effect.match(makeDecompress(limits)(message, encoding), {
      onFailure: ({ code, metadata }) => [code, metadata["cy-reason"]],
      onSuccess: (opened) => opened.length
    }))

  it("has a limit on both sides", async () => {
    expect(await run(gzipSync("x".repeat(5000)), "gzip")).toBe(5000)
    expect(await run(gzipSync(Buffer.alloc(5001)), "gzip")).toEqual([Code.RESOURCE_EXHAUSTED, "message_too_large"])
    expect(await run(new Uint8Array(1001), "gzip")).toEqual([Code.RESOURCE_EXHAUSTED, "message_too_large"])
    expect(await run(bytes("x"), "gzip")).toEqual([Code.INTERNAL, undefined])
    expect(await run(bytes("x"), "br")).toEqual([Code.UNIMPLEMENTED, undefined])
    expect(await run(bytes("x"), undefined)).toEqual([Code.INTERNAL, undefined])
  })

  it("opens a few at a time", async () => {
    const decompress = makeDecompress(limits)
    const opened = await Effect.runPromise(Effect.all(
      Array.from({ length: 50 }, () => decompress(gzipSync("x".repeat(4000)), "gzip")),
      { concurrency: "unbounded" }
    ))
    expect(opened.map(({ length }) => length)).toEqual(Array.from({ length: 50 }, () => 4000))
  })
})
