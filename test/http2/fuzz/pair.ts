import { Http2Connection } from "../../../src/http2/connection.ts"
import type { ConnectionOptions } from "../../../src/http2/connectionTypes.ts"
import { Copies } from "../../../src/http2/copies.ts"
import { SlabPool } from "../../../src/http2/output.ts"
import type { Http2Stream, StreamHandler } from "../../../src/http2/stream.ts"
import { read, REQUEST, RESPONSE } from "../support/endpoint.ts"
import { concat } from "../support/frames.ts"
import { Observer } from "../support/observer.ts"
import { type Chance, chance } from "./chance.ts"

/** One side of one stream, as its layer above has lived it. */
class Side {
  readonly wrote: Array<number> = []
  readonly heard: Array<number> = []
  /** How it ended for this side: once. */
  end: string | undefined
  /** What it sent as its own end. */
  sentEnd: string | undefined
  /** Its own reset: it hears nothing any more. */
  gaveUp = false
  stream: Http2Stream | undefined
  full = false
  drains = 0
  closed = false
}

/** A stream and its two sides. */
class Call {
  readonly client = new Side()
  readonly server = new Side()
  readonly number: number

  constructor(number: number) {
    this.number = number
  }
}

/** An endpoint with its half of the pipe. */
interface End {
  readonly connection: Http2Connection
  readonly observer: Observer
  /** Octets that are under way to the other end. */
  pipe: Uint8Array
  ended: boolean
  /** Taken from the output and not confirmed. */
  unconfirmed: number
}

const fail = (what: string): never => {
  throw new Error(what)
}

/**
 * A client's and a server's endpoint, joined by a pipe that splits and delays as it likes, and two layers above them that do
 * what they like. Throws when a byte is lost, comes twice or out of turn, when an endpoint says what it may not
 * (`Observer`), when the sides disagree on a stream's end, or when something stays behind.
 */
export const playPair = (seed: number, steps = 400): void => {
  const luck = chance(seed)
  const calls: Array<Call> = []
  let nextByte = 0

  const settings = (): Partial<ConnectionOptions> => ({
    settings: {
      initialWindow: luck.one([100, 5000, 65_535, 1 << 20]),
      maxStreams: luck.one([1, 3, 100]),
      headerTable: luck.one([0, 100, 4096, 8192])
    },
    connectionWindow: luck.one([65_535, 1 << 18]),
    lingerMillis: luck.one([0, 1000])
  })

  const handler = (side: Side, takes: () => boolean): StreamHandler => {
    const ends = (how: string): void => {
      if (side.gaveUp) fail("an event after its own reset")
      if (side.end !== undefined && !(how.startsWith("reset") && side.end.startsWith("end"))) {
        fail(`ended twice: ${side.end}, ${how}`)
      }
      side.end ??= how
      if (how.startsWith("reset")) side.closed = true
    }
    return {
      onHeaders: () => {
        if (side.heard.length > 0 || side.end !== undefined) fail("the head came late")
      },
      onData: (bytes) => {
        if (side.end !== undefined || side.gaveUp) fail("DATA after the end")
        side.heard.push(...bytes)
        return takes()
      },
      onEnd: (trailers) => ends(`end ${trailers?.get("x-end") ?? ""}`),
      onReset: (code, cause) => ends(`reset ${code} ${cause}`),
      onDrain: () => {
        if (!side.full) fail("onDrain without being full")
        side.full = false
        side.drains++
      }
    }
  }

  const callAt = (path: string): Call => calls[Number(path.slice(3))] ?? fail(`no call ${path}`)

  const end = (role: "client" | "server"): End => {
    const self: End = {
      observer: new Observer(role),
      pipe: new Uint8Array(0),
      ended: false,
      unconfirmed: 0,
      connection: new Http2Connection(
        { role, pool: new SlabPool(luck.one([1024, 32_768])), copies: new Copies(), now: 0, ...settings() },
        {
          onOutput: () => {},
          onPressure: () => {
            if (luck.is(0.3)) take(self)
          },
          onArrivals: () => {},
          onEnd: () => {
            self.ended = true
          }
        },
        {
          onReady: () => {},
          onRequest: (stream, request) => {
            const { server } = callAt(request.path)
            server.stream = stream
            stream.attach(handler(server, () => luck.is(0.8)))
            stream.resume()
          },
          onGoaway: () => {},
          onLimit: (limit) => fail(`the limit ${limit} bit`),
          onForeign: (what) => fail(`foreign: ${what}`),
          onIdle: () => {},
          onClose: (reason) => {
            if (reason.code !== 0) fail(`${role} closed: ${reason.detail}`)
          }
        }
      )
    }
    return self
  }

  const client = end("client")
  const server = end("server")

  /** Moves what an endpoint has to say into its pipe. */
  function take(from: End): void {
    const { output } = from.connection
    for (let slab = output.shift(); slab !== undefined; slab = output.shift()) {
      const bytes = slab.bytes.slice(0, slab.used)
      from.observer.said(bytes)
      from.pipe = concat(from.pipe, bytes)
      from.unconfirmed += slab.used
      output.pool.give(slab)
      if (luck.is(0.3)) break
    }
  }

  const confirm = (of: End): void => {
    const { unconfirmed } = of
    of.unconfirmed = 0
    of.connection.confirmed(unconfirmed)
  }

  const deliver = (from: End, to: End, most: number): void => {
    const bytes = from.pipe.slice(0, most)
    from.pipe = from.pipe.slice(most)
    if (bytes.length === 0) return
    to.observer.delivered(bytes)
    read(to.connection, bytes)
  }

  const write = (side: Side, luck: Chance): void => {
    const { stream } = side
    if (stream === undefined || side.sentEnd !== undefined || side.gaveUp || side.closed) return
    const bytes = Uint8Array.from({ length: luck.one([1, 10, 200, 3000, 20_000]) }, () => nextByte++ & 0xff)
    side.wrote.push(...bytes)
    if (!stream.write(bytes)) side.full = true
  }

  const sendEnd = (side: Side, call: Call, trailers: boolean): void => {
    if (side.stream === undefined || side.sentEnd !== undefined || side.gaveUp || side.closed) return
    side.sentEnd = trailers ? `end t${call.number}` : "end "
    side.stream.end(trailers ? ["grpc-status", "0", "x-end", `t${call.number}`] : undefined)
  }

  const step = (): void => {
    const call = calls[luck.below(calls.length)]
    switch (luck.below(14)) {
      case 0:
      case 1: {
        if (client.connection.goingAway || calls.length > 60) return
        const opened = new Call(calls.length)
        calls.push(opened)
        const path = `/c/${opened.number}`
        const secret = luck.is(0.3) ? ["authorization", `Bearer ${seed}`] : []
        const long = luck.is(0.05) ? ["x-long", "y".repeat(luck.below(30_000))] : []
        opened.client.stream = client.connection.open(
          [...REQUEST.map((text) => text === "/s/m" ? path : text), ...secret, ...long],
          handler(opened.client, () => luck.is(0.8))
        )
        return
      }
      case 2:
        return call && write(call.client, luck)
      case 3:
        return call && sendEnd(call.client, call, luck.is(0.2))
      case 4:
        if (call !== undefined && !call.server.closed) call.server.stream?.respond(RESPONSE)
        return
      case 5:
        if (call?.server.stream?.headGiven === true) write(call.server, luck)
        return
      case 6:
        if (call?.server.stream?.headGiven === true && luck.is(0.5)) sendEnd(call.server, call, luck.is(0.8))
        return
      case 7: {
        const side = luck.one(["client", "server"] as const)
        if (call === undefined || luck.is(0.7)) return
        const { stream } = call[side]
        if (stream === undefined || call[side].closed || call[side].gaveUp || stream.closed) return
        call[side].gaveUp = true
        stream.reset()
        return
      }
      case 8:
        return call?.client.stream?.resume()
      case 9:
        return call?.server.stream?.resume()
      case 10:
        take(luck.one([client, server]))
        return
      case 11:
        confirm(luck.one([client, server]))
        return
      case 12:
        return luck.is(0.5)
          ? deliver(client, server, luck.one([1, 5, 9, 100, 5000, 100_000]))
          : deliver(server, client, luck.one([1, 5, 9, 100, 5000, 100_000]))
      default:
        if (luck.is(0.3)) luck.one([client, server]).connection.ping()
        else if (luck.is(0.03)) server.connection.drain()
        else while (luck.one([client, server]).connection.turn(luck.one([1, 100])));
    }
  }

  for (let i = 0; i < steps; i++) step()

  // Now everything may run out: all readers take, all writers end.
  for (const call of calls) sendEnd(call.client, call, false)
  for (let round = 0; round < 5000; round++) {
    take(client)
    take(server)
    confirm(client)
    confirm(server)
    deliver(client, server, 100_000)
    deliver(server, client, 100_000)
    while (server.connection.turn(100));
    while (client.connection.turn(100));
    for (const call of calls) {
      call.client.stream?.resume()
      call.server.stream?.resume()
      const { stream } = call.server
      if (stream !== undefined && !call.server.gaveUp && !call.server.closed && !stream.headGiven) {
        stream.respond(RESPONSE)
      }
      if (stream?.headGiven === true) sendEnd(call.server, call, true)
    }
    if (client.connection.openStreams + server.connection.openStreams + client.pipe.length + server.pipe.length === 0) {
      break
    }
  }
  // Both connections are quiet; a reader that was full may still have something before it.
  for (let i = 0; i < 100; i++) {
    for (const call of calls) {
      call.client.stream?.resume()
      call.server.stream?.resume()
    }
  }
  judge(calls, client.connection, server.connection)
}

const isPrefix = (part: ReadonlyArray<number>, whole: ReadonlyArray<number>): boolean =>
  part.length <= whole.length && part.every((byte, i) => byte === whole[i])

/** What must hold when all is quiet. */
const judge = (calls: ReadonlyArray<Call>, client: Http2Connection, server: Http2Connection): void => {
  if (client.openStreams + server.openStreams > 0) {
    fail(`streams stay open: ${client.openStreams} at the client, ${server.openStreams} at the server`)
  }
  for (const { client, number, server } of calls) {
    const tell = (what: string): never => fail(`call ${number}: ${what}`)
    if (client.stream === undefined) continue
    if (!isPrefix(server.heard, client.wrote)) tell("the server heard other octets than the client wrote")
    if (!isPrefix(client.heard, server.wrote)) tell("the client heard other octets than the server wrote")
    if (client.end === undefined && !client.gaveUp) tell("the client never heard an end")
    // A server that has ended its own side hears no more of the client's.
    if (server.stream !== undefined && server.end === undefined && !server.gaveUp && server.sentEnd === undefined) {
      tell("the server never heard an end")
    }
    if (client.end?.startsWith("end") === true) {
      if (client.end !== server.sentEnd) tell(`the client heard ${client.end}, the server ended with ${server.sentEnd}`)
      if (client.heard.length !== server.wrote.length) tell("octets were lost before the end")
    }
    if (server.end?.startsWith("end") === true) {
      if (server.end !== client.sentEnd) tell(`the server heard ${server.end}, the client ended with ${client.sentEnd}`)
      if (server.heard.length !== client.wrote.length) tell("octets were lost before the end")
    }
    const reset = client.gaveUp || server.gaveUp
    if (!reset && server.stream !== undefined && client.end?.startsWith("reset") === true) {
      // Without a reset by either layer only a client that goes on writing after a whole answer is reset, by NO_ERROR.
      tell(`the client heard ${client.end} of what nobody reset`)
    }
  }
}
