import { assert, describe, it } from "@effect/vitest"
import { COSTLY_UNITS, TURN_UNITS } from "../../src/http2/frameReader.ts"
import { HpackEncoder } from "../../src/http2/hpack/HpackEncoder.ts"
import { block, client, type Endpoint, openStream, read, REQUEST, RESPONSE, server } from "./support/endpoint.ts"
import { concat, data, END_STREAM, headers, ping, rst, settings } from "./support/frames.ts"

const many = (count: number, of: (at: number) => Uint8Array): Uint8Array =>
  concat(...Array.from({ length: count }, (_, at) => of(at)))

/** A server with streams 1, 3, 5, … that were handed up. */
const busy = (streams: number): Endpoint => {
  const endpoint = server({ settings: { maxStreams: 10_000 } })
  const encoder = new HpackEncoder()
  for (let at = 0; at < streams; at++) endpoint.receive(headers(2 * at + 1, block(encoder, REQUEST)))
  endpoint.said()
  endpoint.events.length = 0
  return endpoint
}

const told = (endpoint: Endpoint, word: string): number =>
  endpoint.events.filter((event) => event.includes(word)).length

/** Gives all bytes at once, and runs turn after turn: how much happened in each, by `count`. */
const turns = (endpoint: Endpoint, bytes: Uint8Array, count: () => number): ReadonlyArray<number> => {
  const done: Array<number> = []
  let before = count()
  const look = (): void => {
    done.push(count() - before)
    before = count()
  }
  read(endpoint.connection, bytes)
  look()
  while (endpoint.connection.turn(10_000)) look()
  look()
  return done
}

describe("what one connection makes an endpoint do in one turn of the event loop", () => {
  it("is bounded for frames of one octet on two streams by turns; every octet is handed up, in order", () => {
    const endpoint = busy(2)
    const octets = () => (endpoint.received.get(1) ?? "").length + (endpoint.received.get(3) ?? "").length
    const letter = (at: number) => String.fromCodePoint(97 + (at >> 1) % 26)
    const done = turns(endpoint, many(7000, (at) => data(at % 2 === 0 ? 1 : 3, letter(at))), octets)
    assert.isAtMost(Math.max(...done), TURN_UNITS)
    assert.isAtLeast(done.length, Math.ceil(7000 / TURN_UNITS))
    const whole = Array.from({ length: 3500 }, (_, at) => letter(2 * at)).join("")
    assert.strictEqual(endpoint.received.get(1), whole)
    assert.strictEqual(endpoint.received.get(3), whole)
  })

  it("is bounded over many reads, too: what comes meanwhile waits behind the rest", () => {
    const endpoint = busy(1)
    let octets = ""
    for (let round = 0; round < 10; round++) {
      const letter = String.fromCodePoint(97 + round)
      read(endpoint.connection, many(500, () => data(1, letter)))
      octets += letter.repeat(500)
    }
    assert.isTrue(endpoint.connection.unread)
    assert.isAtMost((endpoint.received.get(1) ?? "").length, TURN_UNITS)
    endpoint.turn()
    assert.isFalse(endpoint.connection.unread)
    assert.strictEqual(endpoint.received.get(1), octets)
  })

  it("is bounded for resets of open streams", () => {
    const endpoint = busy(1000)
    const done = turns(endpoint, many(1000, (at) => rst(2 * at + 1)), () => told(endpoint, "reset 8 peer"))
    assert.isAtMost(Math.max(...done), TURN_UNITS / COSTLY_UNITS)
    assert.strictEqual(told(endpoint, "reset 8 peer"), 1000)
  })

  it("is bounded for requests", () => {
    const endpoint = server()
    const encoder = new HpackEncoder()
    const requests = many(1000, (at) => headers(2 * at + 1, block(encoder, REQUEST)))
    const done = turns(endpoint, requests, () => endpoint.connection.openStreams)
    assert.isAtMost(Math.max(...done), TURN_UNITS / COSTLY_UNITS)
    assert.strictEqual(told(endpoint, "request"), 1000)
  })

  it("is bounded for SETTINGS that move the windows of many streams", () => {
    const endpoint = busy(2000)
    let seen = 0
    const acknowledged = (): number => seen += endpoint.said().filter((line) => line === "SETTINGS ACK").length
    const done = turns(endpoint, many(50, (at) => settings([4, 1000 + at])), acknowledged)
    assert.isAtMost(Math.max(...done), Math.ceil(TURN_UNITS / (2000 / 8)))
    assert.strictEqual(acknowledged(), 50)
  })

  it("is bounded for the streams of a lost link: they end a few in a turn", () => {
    const endpoint = client()
    for (let at = 0; at < 500; at++) openStream(endpoint)
    endpoint.said()
    endpoint.connection.lost("ECONNRESET")
    const first = told(endpoint, "connection")
    assert.isAbove(first, 0)
    assert.isAtMost(first, 128)
    endpoint.turn()
    assert.strictEqual(told(endpoint, "connection"), 500)
  })

  it("never costs what the peer had said before the socket closed", () => {
    const endpoint = client()
    openStream(endpoint).end()
    endpoint.said()
    const encoder = new HpackEncoder()
    const octets = many(5000, () => data(1, "x"))
    const trailers = headers(1, block(encoder, ["grpc-status", "0"]), 4 | END_STREAM)
    read(endpoint.connection, concat(headers(1, block(encoder, RESPONSE)), octets, ping(), trailers))
    assert.isTrue(endpoint.connection.unread)
    endpoint.connection.lost("the peer closed the connection")
    assert.strictEqual(endpoint.received.get(1)?.length, 5000)
    assert.deepStrictEqual(endpoint.events.at(-1), "1 end grpc-status 0")
  })
})
