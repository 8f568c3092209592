import { assert, describe, it } from "@effect/vitest"
import { LookAhead, type Waypoint } from "../../src/http2/lookAhead.ts"
import { Http2Stream, type StreamHandler, type StreamHost } from "../../src/http2/stream.ts"
import { StreamStore } from "../../src/http2/streamStore.ts"
import { frame, FrameType } from "../conformance/raw/frames.ts"

const host: StreamHost = {
  role: "client",
  now: 0,
  submit: () => {},
  sendNow: () => true,
  abandon: () => {},
  reopen: () => {}
}

/** So many streams, 1, 3, 5 …: what is asked of their handlers, and of what lies behind these. */
const open = (count: number) => {
  const asked: Array<string> = []
  const waypoint = (name: string, next: Waypoint | undefined): Waypoint => ({
    get ahead() {
      asked.push(name)
      return next
    }
  })
  const store = new StreamStore()
  for (let id = 1; id < 2 * count; id += 2) {
    const stream = new Http2Stream(host, id, 100, 100)
    const handler: StreamHandler = {
      onHeaders: () => {},
      onData: () => true,
      onEnd: () => {},
      onReset: () => {},
      onDrain: () => {},
      get ahead() {
        asked.push(`handler ${id}`)
        return waypoint(`taker ${id}`, undefined)
      }
    }
    stream.handler = handler
    store.add(stream)
  }
  return { asked, store, ahead: new LookAhead(store) }
}

const data = (...ids: ReadonlyArray<number>): Buffer =>
  Buffer.concat(ids.map((id) => frame(FrameType.DATA, 0, id, new Uint8Array(id % 5))))

const odd = (from: number, count: number): ReadonlyArray<number> =>
  Array.from({ length: count }, (_, n) => from + 2 * n)

describe("a look ahead at the frames of a read", () => {
  it("asks for an object of several streams before it asks for the next one of any", () => {
    const { ahead, asked } = open(100)
    const chunk = data(...odd(1, 9))
    assert.strictEqual(ahead.look(chunk, 0, chunk.length), chunk.length)
    const step = (name: string, ids: ReadonlyArray<number>) => ids.map((id) => `${name} ${id}`)
    assert.deepStrictEqual(asked, [
      ...step("handler", odd(1, 8)),
      ...step("taker", odd(1, 8)),
      "handler 17",
      "taker 17"
    ])
  })

  it("looks at 32 frames, and answers where the next one begins", () => {
    const { ahead, asked } = open(100)
    const [first, rest] = [data(...odd(1, 32)), data(...odd(65, 5))]
    const chunk = Buffer.concat([first, rest])
    assert.strictEqual(ahead.look(chunk, 0, chunk.length), first.length)
    assert.strictEqual(asked.length, 64)
    assert.strictEqual(ahead.look(chunk, first.length, chunk.length), chunk.length)
    assert.strictEqual(asked.length, 74)
  })

  it("passes over other frames, streams that are closed or not there, and what is cut off", () => {
    const { ahead, asked, store } = open(100)
    const closed = store.get(3)
    if (closed !== undefined) closed.closed = true
    const chunk = Buffer.concat([
      frame(FrameType.WINDOW_UPDATE, 0, 1, new Uint8Array(4)),
      data(3, 5, 999, 7),
      frame(FrameType.DATA, 0, 9, new Uint8Array(50)).subarray(0, 12)
    ])
    assert.strictEqual(ahead.look(chunk, 0, chunk.length), chunk.length)
    assert.deepStrictEqual(
      asked,
      [5, 7, 9].flatMap((id) => [`handler ${id}`]).concat([5, 7, 9].map((id) => `taker ${id}`))
    )
    assert.strictEqual(ahead.look(chunk, 0, 17), 17)
  })

  it("does not look where nobody waits for memory: at one frame, and with few streams", () => {
    const many = open(100)
    const one = data(5)
    assert.strictEqual(many.ahead.look(one, 0, one.length), one.length)
    assert.deepStrictEqual(many.asked, [])
    const few = open(60)
    const chunk = data(...odd(1, 40))
    assert.strictEqual(few.ahead.look(chunk, 0, chunk.length), chunk.length)
    assert.deepStrictEqual(few.asked, [])
  })
})
