import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import type { Http2Stream } from "../../../src/http2/stream.ts"
import { block, Endpoint, openStream, read, REQUEST, RESPONSE } from "../support/endpoint.ts"
import * as f from "../support/frames.ts"
import { Observer } from "../support/observer.ts"
import { type Chance, chance } from "./chance.ts"

const FIELDS = [
  REQUEST,
  RESPONSE,
  [":status", "100"],
  ["grpc-status", "0"],
  [...REQUEST, "content-length", "5"],
  [...RESPONSE, "content-length", "5"],
  [...REQUEST, "X-Upper", "1"],
  [...REQUEST, "connection", "close"],
  [...REQUEST, "x-long", "x".repeat(3000)],
  [":path", "/"],
  []
]

/** A peer that mostly keeps to the rules, and now and then does not. */
class Hostile {
  readonly #luck: Chance
  readonly #role: "client" | "server"
  readonly #encoder = new HpackEncoder()
  readonly #opened: () => number
  #next = 1

  /** `role`: its own. `opened`: how many streams the endpoint has opened, where that is the client. */
  constructor(luck: Chance, role: "client" | "server", opened: () => number) {
    this.#luck = luck
    this.#role = role
    this.#opened = opened
  }

  greeting(): Uint8Array {
    return f.concat(
      this.#role === "client" ? f.PREFACE : new Uint8Array(0),
      f.settings(...this.#entries()),
      f.settingsAck
    )
  }

  /** The next octets that it sends. */
  next(): Uint8Array {
    const luck = this.#luck
    const id = this.#id()
    const bytes = id === 0 ? f.ping() : this.#frame(id).slice()
    if (luck.is(0.003)) bytes[luck.below(bytes.length)]! ^= 1 << luck.below(8)
    return luck.is(0.0005) ? bytes.slice(0, luck.below(bytes.length)) : bytes
  }

  /** A stream that was opened lately; 0 when there is none yet. */
  #id(): number {
    const luck = this.#luck
    const count = this.#role === "client" ? (this.#next - 1) / 2 : this.#opened()
    if (luck.is(0.002)) return luck.one([2, 2 * count + 1, 0x7fffffff])
    return count === 0 ? 0 : 2 * (count - Math.min(count, 1 + luck.below(6))) + 1
  }

  #entries(): Array<readonly [number, number]> {
    const luck = this.#luck
    const entries: Array<readonly [number, number]> = []
    if (luck.is(0.3)) entries.push([1, luck.one([0, 50, 4096, 10_000])])
    if (luck.is(0.3)) entries.push([3, luck.below(20)])
    if (luck.is(0.5)) entries.push([4, luck.one([0, 1, 100, 65_535, 1 << 20])])
    if (luck.is(0.1)) entries.push([5, luck.one([16_384, 100_000])])
    if (luck.is(0.01)) entries.push([luck.below(10), luck.one([0, 1, 2, 0x7fffffff, 0xffffffff])])
    return entries
  }

  #frame(id: number): Uint8Array {
    const luck = this.#luck
    switch (luck.below(16)) {
      case 0:
      case 1:
      case 2: {
        if (this.#role === "server") return this.#headers(id, luck.is(0.7) ? RESPONSE : luck.one(FIELDS))
        const opened = this.#next
        this.#next += 2
        return this.#headers(opened, luck.is(0.8) ? REQUEST : luck.one(FIELDS))
      }
      case 3:
        return this.#headers(id, luck.is(0.7) ? ["grpc-status", "0"] : luck.one(FIELDS), f.END_STREAM)
      case 4:
      case 5:
      case 6: {
        const payload = new Uint8Array(luck.one([0, 1, 5, 100, 3000, 16_384])).fill(0x61)
        const end = luck.is(0.1) ? f.END_STREAM : 0
        if (luck.is(0.8)) return f.data(id, payload, end)
        const pad = luck.below(20)
        return f.frame(0, f.PADDED | end, id, f.concat(Uint8Array.of(pad), payload.slice(0, 1000), new Uint8Array(pad)))
      }
      case 7:
        return f.rst(id, luck.one(["CANCEL", "REFUSED_STREAM", "NO_ERROR", "ENHANCE_YOUR_CALM"]))
      case 8:
        return luck.is(0.2) ? f.settings(...this.#entries()) : luck.is(0.1) ? f.settingsAck : f.priority(id)
      case 9:
        return f.ping(luck.is(0.2) ? f.ACK : 0, Uint8Array.from({ length: 8 }, () => luck.below(256)))
      case 10:
        return luck.is(0.03)
          ? f.goaway(luck.one([0, id, 0x7fffffff]))
          : f.frame(10 + luck.below(100), luck.below(256), id)
      case 11:
      case 12:
      case 13:
        return f.windowUpdate(luck.is(0.3) ? 0 : id, luck.is(0.01) ? luck.one([0, 0x7fffffff]) : 1 + luck.below(50_000))
      case 14: {
        const fields = this.#role === "client" ? REQUEST : RESPONSE
        const whole = block(this.#encoder, fields)
        const cut = luck.below(whole.length)
        const opened = this.#role === "client" ? this.#next : id
        if (this.#role === "client") this.#next += 2
        return f.concat(
          f.headers(opened, whole.slice(0, cut), luck.is(0.3) ? f.END_STREAM : 0),
          f.continuation(opened, whole.slice(cut), luck.is(0.99) ? f.END_HEADERS : 0)
        )
      }
      default:
        return luck.is(0.02)
          ? f.frame(
            luck.below(11),
            luck.below(256),
            id,
            Uint8Array.from({ length: luck.below(40) }, () => luck.below(256))
          )
          : f.ping()
    }
  }

  #headers(id: number, fields: ReadonlyArray<string>, flags = 0): Uint8Array {
    const luck = this.#luck
    const end = flags | (luck.is(0.3) ? f.END_STREAM : 0)
    const payload = block(this.#encoder, fields)
    return luck.is(0.9)
      ? f.headers(id, payload, f.END_HEADERS | end)
      : f.frame(1, f.END_HEADERS | f.PRIORITY | end, id, f.concat(new Uint8Array(5), payload))
  }
}

/** What a layer above does with streams, by chance. */
const act = (luck: Chance, endpoint: Endpoint, role: "client" | "server"): void => {
  const streams = [...endpoint.streams.values(), ...endpoint.opened.values()]
  const stream: Http2Stream | undefined = streams[luck.below(streams.length)]
  switch (luck.below(8)) {
    case 0:
      if (role === "client" && !endpoint.connection.goingAway && streams.length < 200) openStream(endpoint)
      return
    case 1:
      return stream?.respond(RESPONSE)
    case 2:
      if (stream?.headGiven === true) stream.write(new Uint8Array(luck.one([1, 100, 20_000])))
      return
    case 3:
      if (stream?.headGiven === true && luck.is(0.3)) stream.end(luck.is(0.5) ? ["grpc-status", "0"] : undefined)
      return
    case 4:
      if (luck.is(0.2)) stream?.reset()
      return
    case 5:
      return stream?.resume()
    case 6:
      if (luck.is(0.02)) endpoint.connection.drain()
      else if (luck.is(0.1)) endpoint.connection.ping()
      return
    default:
      if (luck.is(0.02)) stream?.end(["grpc-status", "1"])
  }
}

/** What may wait at most for a peer that reads nothing between two ticks. */
const MAX_WAITING = 1 << 21

/**
 * One endpoint and a peer that breaks rules by chance. Throws when the endpoint throws, says what it may not, tells a stream
 * nothing of its end, or lets something grow.
 */
export const playHostile = (seed: number, steps = 300): void => {
  const luck = chance(seed)
  const role = luck.one(["client", "server"] as const)
  const observer = new Observer(role)
  const endpoint = new Endpoint({
    role,
    settings: {
      initialWindow: luck.one([10, 65_535, 1 << 20]),
      maxStreams: luck.one([2, 100]),
      maxHeaderList: luck.one([500, 65_536])
    }
  }, { takes: () => luck.is(0.7) })
  const peer = new Hostile(luck, role === "client" ? "server" : "client", () => (observer.highest + 1) >> 1)
  const give = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length;) {
      const part = bytes.slice(at, at + 1 + luck.below(luck.one([1, 10, 1000, 40_000])))
      at += part.length
      observer.delivered(part)
      read(endpoint.connection, part)
    }
  }
  const hear = (): void => observer.said(endpoint.take())

  give(peer.greeting())
  for (let step = 0; step < steps; step++) {
    give(peer.next())
    if (luck.is(0.5)) act(luck, endpoint, role)
    if (luck.is(0.3)) endpoint.turn()
    if (luck.is(0.3)) hear()
    if (luck.is(0.05)) endpoint.connection.tick(step * 20)
    if (endpoint.connection.output.size > MAX_WAITING) throw new Error(`${endpoint.connection.output.size} octets wait`)
  }
  endpoint.turn()
  hear()
  endpoint.connection.lost("over")
  judge(endpoint)
  if (endpoint.take().length > 0) throw new Error("said something after the end")
}

/** Every stream that was handed up or opened has heard one end, unless the layer above gave it up itself. */
const judge = (endpoint: Endpoint): void => {
  const { connection, events } = endpoint
  if (connection.openStreams !== 0) throw new Error(`${connection.openStreams} streams stay open`)
  if (endpoint.closed === undefined) throw new Error("the end was not told")
  const ends = new Map<string, number>()
  for (const event of events) {
    const [id = "", what = ""] = event.split(" ")
    // 0: streams that never left share it.
    if (id === "0") continue
    if (what !== "end" && what !== "reset" && what !== "data") continue
    const before = ends.get(id) ?? 0
    if (before === 2) throw new Error(`stream ${id} heard ${what} after its reset`)
    if (before === 1 && what !== "reset") throw new Error(`stream ${id} heard ${what} after its end`)
    if (what !== "data") ends.set(id, what === "reset" ? 2 : 1)
  }
}

/**
 * The same octets, once whole and once cut anywhere: the endpoint says and tells the same. Where window updates stand among
 * other frames may differ, for they follow the reads.
 */
export const playCuts = (seed: number, steps = 60): void => {
  const luck = chance(seed)
  const role = luck.one(["client", "server"] as const)
  const peer = new Hostile(luck, role === "client" ? "server" : "client", () => 8)
  const bytes = f.concat(peer.greeting(), ...Array.from({ length: steps }, () => peer.next()))
  const settings = { initialWindow: 1 << 20, maxStreams: luck.one([2, 100]) }
  const play = (cuts: ReadonlyArray<number>): ReadonlyArray<unknown> => {
    const endpoint = new Endpoint({ role, settings })
    if (role === "client") { for (let i = 0; i < 8; i++) openStream(endpoint) }
    endpoint.receive(bytes, cuts)
    const said = endpoint.said()
    // How much of a message was handed up before it turned out to be malformed follows the reads, too.
    const cutShort = new Set(
      endpoint.events.flatMap((event) => / reset \d+ local$/.test(event) ? [event.split(" ")[0]] : [])
    )
    return [
      said.filter((frame) => !frame.startsWith("WINDOW_UPDATE")),
      endpoint.events.filter((event) => !(event.includes(" data ") && cutShort.has(event.split(" ")[0]))),
      endpoint.closed,
      endpoint.limit
    ]
  }
  const whole = JSON.stringify(play([]))
  const cuts = Array.from({ length: 40 }, () => luck.below(bytes.length)).sort((a, b) => a - b)
  if (JSON.stringify(play(cuts)) !== whole) throw new Error(`cut at ${cuts.join()} it is another story`)
  if (luck.is(0.1) && JSON.stringify(play(Array.from({ length: bytes.length - 1 }, (_, i) => i + 1))) !== whole) {
    throw new Error("octet by octet it is another story")
  }
}
