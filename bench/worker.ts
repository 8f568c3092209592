/**
 * The worker of the benchmark: a process of its own on a Unix socket that speaks just enough HTTP/2 to stream prebuilt
 * tokens at next to no cost. Each token is a DATA frame of its own, and a paced or short one is a write of its own, as
 * with a real worker, whose threads send independently of each other.
 *
 * `node worker.ts SOCKET_PATH`; says "ready" over IPC.
 */
import * as net from "node:net"
import {
  Flag,
  type Frame,
  frame,
  FrameReader,
  FrameType,
  ping,
  PREFACE,
  Setting,
  settings,
  settingsAck,
  uint31,
  windowUpdate
} from "../test/conformance/raw/frames.ts"
import * as Hpack from "../test/conformance/raw/hpack.ts"
import { END_MESSAGE, HEALTHY, nowMicros, type Plan, readPlan, sizedToken, TOKEN_BYTES, writeToken } from "./token.ts"

const HEADERS = Hpack.encode([[":status", "200"], ["content-type", "application/grpc"]])
const TRAILERS = Hpack.encode([["grpc-status", "0"], ["grpc-message", ""]])
const FRAME_BYTES = 9 + TOKEN_BYTES
/** Bytes that a burst hands to the socket in one write. */
const BURST_BYTES = 64 * 1024

/** Streams with a next token due at a moment, the earliest first: a binary heap. */
class Agenda {
  #heap: Array<Reply> = []

  get earliest(): Reply | undefined {
    return this.#heap[0]
  }

  push(reply: Reply): void {
    const heap = this.#heap
    let at = heap.push(reply) - 1
    while (at > 0) {
      const up = (at - 1) >> 1
      if (heap[up]!.due <= reply.due) break
      heap[at] = heap[up]!
      at = up
    }
    heap[at] = reply
  }

  pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let down = 2 * at + 1
      if (down >= heap.length) break
      if (down + 1 < heap.length && heap[down + 1]!.due < heap[down]!.due) down += 1
      if (heap[down]!.due >= last.due) break
      heap[at] = heap[down]!
      at = down
    }
    heap[at] = last
  }
}

interface Reply {
  readonly link: Link
  readonly id: number
  readonly plan: Plan
  /** The token of a stream whose tokens have another size than usual. */
  readonly sized: Buffer | undefined
  window: number
  sent: number
  /** Microseconds at which the next token is due; unused by bursts. */
  due: number
  closed: boolean
}

/** The next moment that a plan allows, from `micros` on. */
const moment = (plan: Plan, micros: number): number =>
  plan.kind === "paced" && plan.spread !== true ? Math.ceil(micros / 1000) * 1000 : micros

const agenda = new Agenda()
const links = new Set<Link>()

class Link {
  readonly #socket: net.Socket
  readonly #reader = new FrameReader(PREFACE.length)
  readonly #replies = new Map<number, Reply>()
  readonly #requests = new Map<number, string>()
  #bursts: Array<Reply> = []
  /** Paced and short streams that wait for a window. */
  readonly #stalled = new Set<Reply>()
  #window = 65_535
  #initialWindow = 65_535
  #received = 0

  constructor(socket: net.Socket) {
    this.#socket = socket
    socket.write(
      Buffer.concat([settings([Setting.MAX_CONCURRENT_STREAMS, 100_000]), windowUpdate(0, 16 * 1024 * 1024)])
    )
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk, (frame) => this.#hear(frame))
      if (this.bursting) this.burst()
    })
    socket.on("error", () => socket.destroy())
    socket.on("close", () => {
      for (const reply of this.#replies.values()) reply.closed = true
      this.#replies.clear()
      this.#bursts = []
      links.delete(this)
    })
    links.add(this)
  }

  get bursting(): boolean {
    return this.#bursts.length > 0 && this.#window >= TOKEN_BYTES && !this.#socket.writableNeedDrain
  }

  /** One token of a paced or short stream; `false` when a window is shut. */
  step(reply: Reply, now: number): boolean {
    const bytes = reply.sized?.length ?? TOKEN_BYTES
    if (reply.window < bytes || this.#window < bytes) {
      this.#stalled.add(reply)
      return false
    }
    if (reply.sized !== undefined) {
      this.#socket.write(frame(FrameType.DATA, 0, reply.id, reply.sized))
      reply.sent += 1
      reply.window -= bytes
      this.#window -= bytes
      return true
    }
    const out = Buffer.allocUnsafe(FRAME_BYTES)
    this.#put(out, 0, reply, now)
    this.#socket.write(out)
    return true
  }

  /** The whole answer of a short stream without gaps, or its end. */
  finish(reply: Reply): void {
    this.#socket.write(Buffer.concat([
      frame(FrameType.DATA, 0, reply.id, END_MESSAGE),
      frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, reply.id, TRAILERS)
    ]))
    reply.closed = true
    this.#replies.delete(reply.id)
  }

  /** As much of the bursts as fits one write, the streams taking turns. */
  burst(): void {
    const out = Buffer.allocUnsafe(BURST_BYTES)
    let at = 0
    let idle = 0
    while (at + FRAME_BYTES <= BURST_BYTES && this.#window >= TOKEN_BYTES && idle < this.#bursts.length) {
      const reply = this.#bursts.shift()
      if (reply === undefined) break
      if (reply.closed) continue
      this.#bursts.push(reply)
      if (reply.window < TOKEN_BYTES) {
        idle += 1
        continue
      }
      idle = 0
      this.#put(out, at, reply)
      at += FRAME_BYTES
    }
    if (at > 0) this.#socket.write(out.subarray(0, at))
    if (idle > 0 && idle >= this.#bursts.length) this.#bursts = []
  }

  #put(out: Buffer, at: number, reply: Reply, stamp?: number): void {
    out.writeUIntBE(TOKEN_BYTES, at, 3)
    out[at + 3] = FrameType.DATA
    out[at + 4] = 0
    out.writeUInt32BE(reply.id, at + 5)
    writeToken(out, at + 9, reply.sent, stamp)
    reply.sent += 1
    reply.window -= TOKEN_BYTES
    this.#window -= TOKEN_BYTES
  }

  #hear({ type, flags, streamId, payload }: Frame): void {
    switch (type) {
      case FrameType.SETTINGS:
        if ((flags & Flag.ACK) !== 0) return
        for (let at = 0; at + 6 <= payload.length; at += 6) {
          if (payload.readUInt16BE(at) !== Setting.INITIAL_WINDOW_SIZE) continue
          const size = payload.readUInt32BE(at + 2)
          for (const reply of this.#replies.values()) reply.window += size - this.#initialWindow
          this.#initialWindow = size
        }
        this.#socket.write(settingsAck())
        return
      case FrameType.PING:
        if ((flags & Flag.ACK) === 0) this.#socket.write(ping(true, payload))
        return
      case FrameType.WINDOW_UPDATE: {
        if (streamId === 0) {
          this.#window += uint31(payload)
          for (const reply of this.#stalled) this.#wake(reply)
          return
        }
        const reply = this.#replies.get(streamId)
        if (reply === undefined) return
        const bytes = reply.sized?.length ?? TOKEN_BYTES
        const wasShut = reply.window < bytes
        reply.window += uint31(payload)
        if (!wasShut || reply.window < bytes) return
        if (reply.plan.kind === "burst") {
          if (!this.#bursts.includes(reply)) this.#bursts.push(reply)
        } else this.#wake(reply)
        return
      }
      case FrameType.RST_STREAM: {
        const reply = this.#replies.get(streamId)
        if (reply !== undefined) reply.closed = true
        this.#replies.delete(streamId)
        this.#requests.delete(streamId)
        return
      }
      case FrameType.DATA: {
        this.#received += payload.length
        if (this.#received > 1024 * 1024) {
          this.#socket.write(windowUpdate(0, this.#received))
          this.#received = 0
        }
        if (this.#replies.has(streamId)) return
        const request = (this.#requests.get(streamId) ?? "") + payload.toString("latin1")
        if (request.length < 5 || request.length < 5 + Buffer.from(request, "latin1").readUInt32BE(1)) {
          this.#requests.set(streamId, request)
          return
        }
        this.#requests.delete(streamId)
        this.#answer(streamId, readPlan(request))
      }
    }
  }

  #wake(reply: Reply): void {
    const bytes = reply.sized?.length ?? TOKEN_BYTES
    if (reply.window < bytes || !this.#stalled.delete(reply) || reply.closed) return
    reply.due = nowMicros()
    agenda.push(reply)
  }

  #answer(id: number, plan: Plan | undefined): void {
    const headers = frame(FrameType.HEADERS, Flag.END_HEADERS, id, HEADERS)
    if (plan === undefined) {
      this.#socket.write(Buffer.concat([
        headers,
        frame(FrameType.DATA, 0, id, HEALTHY),
        frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, id, TRAILERS)
      ]))
      return
    }
    const now = nowMicros()
    const first = plan.kind === "paced" ? now + Math.random() * (1e6 / plan.rate) : now
    const reply: Reply = {
      link: this,
      id,
      plan,
      sized: plan.kind === "paced" && plan.bytes !== undefined ? sizedToken(plan.bytes) : undefined,
      window: this.#initialWindow,
      sent: 0,
      due: moment(plan, first),
      closed: false
    }
    this.#replies.set(id, reply)
    if (plan.kind === "short" && plan.gapMillis === 0) {
      const out = Buffer.allocUnsafe(FRAME_BYTES * plan.tokens)
      for (let i = 0; i < plan.tokens; i++) this.#put(out, i * FRAME_BYTES, reply)
      this.#socket.write(Buffer.concat([headers, out]))
      this.finish(reply)
      return
    }
    this.#socket.write(headers)
    if (plan.kind === "burst") this.#bursts.push(reply)
    else agenda.push(reply)
  }
}

/** Sends what is due; answers how many microseconds nothing will be. */
const sendDue = (): number => {
  for (;;) {
    const reply = agenda.earliest
    if (reply === undefined) return Infinity
    const now = nowMicros()
    if (reply.due > now) return reply.due - now
    agenda.pop()
    if (reply.closed) continue
    // A stream whose window is shut comes back with the peer's WINDOW_UPDATE.
    if (!reply.link.step(reply, now)) continue
    if (reply.plan.kind === "short") {
      if (reply.sent >= reply.plan.tokens) {
        reply.link.finish(reply)
        continue
      }
      reply.due = Math.max(reply.due + reply.plan.gapMillis * 1000, now - 100_000)
    } else if (reply.plan.kind === "paced") {
      // A worker that fell behind does not catch up in a burst.
      reply.due = moment(reply.plan, Math.max(reply.due + 1e6 / reply.plan.rate, now - 100_000))
    }
    agenda.push(reply)
  }
}

const nap = new Int32Array(new SharedArrayBuffer(4))

/**
 * The one loop. Timers of Node are a millisecond coarse and would bundle tokens that should come one by one, so the loop
 * sleeps by itself for the short waits in between.
 */
const turn = (): void => {
  let bursting = false
  for (const link of links) {
    if (link.bursting) {
      link.burst()
      bursting = true
    }
  }
  const idle = sendDue()
  if (bursting || idle <= 2000) {
    if (!bursting && idle > 60) Atomics.wait(nap, 0, 0, Math.min(idle - 40, 1000) / 1000)
    setImmediate(turn)
  } else setTimeout(turn, 1)
}

const [path] = process.argv.slice(2)
if (path === undefined) throw new Error("usage: worker.ts SOCKET_PATH")
const server = net.createServer((socket) => new Link(socket))
// nginx opens a connection for each stream.
server.listen({ path, backlog: 4096 }, () => {
  turn()
  process.send?.("ready")
})
process.on("disconnect", () => process.exit(0))
