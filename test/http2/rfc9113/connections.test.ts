import { assert, describe, it } from "@effect/vitest"
import { opens, plain, request, response, section, trailers } from "../support/cases.ts"
import { client, Endpoint, openStream, REQUEST, server } from "../support/endpoint.ts"
import {
  ACK,
  concat,
  continuation,
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  goaway,
  headers,
  ping,
  PREFACE,
  priority,
  rst,
  settings,
  settingsAck,
  windowUpdate
} from "../support/frames.ts"

const BLOCK = plain(REQUEST)
const text = (bytes: Uint8Array): string => new TextDecoder("latin1").decode(bytes)

describe("RFC 9113 §3.4 Connection Preface", () => {
  it("a client begins with the 24 octets and SETTINGS that switch push off", () => {
    const bytes = new Endpoint({ role: "client" }).take()
    assert.deepStrictEqual(bytes.slice(0, 24), PREFACE)
    assert.strictEqual(bytes[24 + 3], 4)
    assert.deepStrictEqual(bytes.slice(24 + 9, 24 + 15), Uint8Array.of(0, 2, 0, 0, 0, 0))
  })

  it("a server begins with SETTINGS, and not before the peer has shown that it speaks HTTP/2", () => {
    const endpoint = new Endpoint({ role: "server" })
    endpoint.connection.receive(PREFACE.slice(0, 23))
    assert.deepStrictEqual(endpoint.said(), [])
    endpoint.connection.receive(PREFACE.slice(23))
    assert.strictEqual(endpoint.said()[0], "SETTINGS")
  })

  it.each(["drain", "abort"] as const)(
    "a server begins with SETTINGS, also when its first word is its last: %s",
    (how) => {
      const endpoint = new Endpoint({ role: "server" })
      if (how === "drain") endpoint.connection.drain()
      else endpoint.connection.abort(0, "bye")
      assert.strictEqual(endpoint.said()[0], "SETTINGS")
    }
  )

  it("a client may send requests before the server's SETTINGS have come", () => {
    const endpoint = new Endpoint({ role: "client" })
    openStream(endpoint)
    assert.strictEqual(endpoint.said().at(-1)?.split(" ")[0], "HEADERS")
  })

  it("a server takes the preface cut anywhere", () => {
    const bytes = concat(PREFACE, settings(), request(1))
    for (let cut = 1; cut < bytes.length; cut++) {
      const endpoint = new Endpoint({ role: "server" })
      endpoint.receive(bytes, [cut])
      assert.deepStrictEqual(endpoint.events, ["ready", "1 request POST /s/m"], `cut at ${cut}`)
    }
  })

  for (const role of ["server", "client"] as const) {
    const greeting = role === "server" ? PREFACE : new Uint8Array(0)
    for (
      const [name, other] of Object.entries({
        HEADERS: headers(1, BLOCK),
        DATA: data(1, "x"),
        PING: ping(),
        "SETTINGS with ACK": settingsAck,
        "an unknown frame": frame(0x20, 0, 0),
        GOAWAY: goaway(0)
      })
    ) {
      it(`a ${role} refuses ${name} as the first frame`, () => {
        const endpoint = new Endpoint({ role })
        endpoint.receive(concat(greeting, other))
        assert.strictEqual(endpoint.closed?.code, 1)
        assert.match(endpoint.said().at(-1) ?? "", /^GOAWAY 0 PROTOCOL_ERROR/)
      })
    }
  }

  it("a server answers other octets with GOAWAY, and closes", () => {
    for (let at = 0; at < PREFACE.length; at++) {
      const wrong = PREFACE.slice()
      wrong[at] = 0x00
      const endpoint = new Endpoint({ role: "server" })
      endpoint.receive(wrong)
      assert.strictEqual(endpoint.closed?.code, 1, `octet ${at}`)
      assert.isTrue(endpoint.ended)
      assert.deepStrictEqual(endpoint.events, ["foreign other"])
    }
  })

  it.for(["GET / HTTP/1.1\r\n\r\n", "POST /x HTTP/1.1\r\n", "PUT / HTTP/1.0\r\n", "OPTIONS * HTTP/1.1\r\n"])(
    "a server answers %j with one line of HTTP/1.1",
    (line) => {
      for (let cut = 1; cut < line.length; cut++) {
        const endpoint = new Endpoint({ role: "server", http1Text: "This port speaks gRPC." })
        endpoint.receive(new TextEncoder().encode(line), [cut])
        const answer = text(endpoint.take())
        assert.match(answer, /^HTTP\/1\.1 4\d\d /, `cut at ${cut}`)
        assert.match(answer, /\r\n\r\nThis port speaks gRPC\.\n$/)
        assert.deepStrictEqual(endpoint.events, ["foreign http1"])
        assert.isTrue(endpoint.ended)
      }
    }
  )

  it("a server answers a TLS hello with nothing, and closes", () => {
    const endpoint = new Endpoint({ role: "server" })
    endpoint.receive(Uint8Array.of(0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3))
    assert.strictEqual(endpoint.take().length, 0)
    assert.deepStrictEqual(endpoint.events, ["foreign tls"])
    assert.isTrue(endpoint.ended)
  })

  it.for(["server", "client"] as const)("a %s gives a silent peer up in time", (role) => {
    const endpoint = new Endpoint({ role, settingsMillis: 1000 })
    endpoint.connection.tick(900)
    assert.isFalse(endpoint.ended)
    endpoint.connection.tick(1100)
    assert.strictEqual(endpoint.closed?.code, 4)
  })

  it("a preface that drips octet by octet is given up in time too", () => {
    const endpoint = new Endpoint({ role: "server", settingsMillis: 1000 })
    for (let at = 0; at < 20; at++) {
      endpoint.receive(PREFACE.slice(at, at + 1))
      endpoint.connection.tick(at * 100)
    }
    assert.isDefined(endpoint.closed)
  })
})

describe("RFC 9113 §5.4.1 Connection Error Handling", () => {
  it("names the highest stream in GOAWAY, ends every stream, and reads no further", () => {
    const endpoint = server()
    endpoint.receive(concat(request(1), request(3)))
    endpoint.receive(concat(ping(0, new Uint8Array(7)), request(5), ping()))
    assert.deepStrictEqual(endpoint.said(), ["GOAWAY 3 FRAME_SIZE_ERROR"])
    assert.deepStrictEqual(endpoint.events.slice(2).sort(), ["1 reset 6 connection", "3 reset 6 connection"])
    assert.strictEqual(endpoint.connection.openStreams, 0)
    endpoint.receive(ping())
    assert.deepStrictEqual(endpoint.said(), [])
  })

  it("says nothing more after it, whatever the layer above does", () => {
    const endpoint = server()
    endpoint.receive(request(1))
    endpoint.receive(priority(0))
    assert.deepStrictEqual(endpoint.said(), ["GOAWAY 1 PROTOCOL_ERROR"])
    const stream = endpoint.streams.get(1)
    stream?.respond([":status", "200"])
    stream?.write(new Uint8Array(10))
    stream?.end(["grpc-status", "0"])
    stream?.reset()
    endpoint.connection.ping()
    endpoint.connection.drain()
    endpoint.connection.tick(100_000)
    assert.deepStrictEqual(endpoint.said(), [])
  })

  it("a lost socket is heard once by each stream, and by the connection", () => {
    const endpoint = client()
    openStream(endpoint)
    openStream(endpoint)
    endpoint.connection.lost("ECONNRESET")
    endpoint.connection.lost("again")
    assert.deepStrictEqual(endpoint.events, ["1 reset 0 connection", "3 reset 0 connection"])
    assert.deepStrictEqual(endpoint.closed, { code: 0, by: "transport", detail: "ECONNRESET" })
  })

  it("a server's streams hear of it a few in a turn, each once, and nothing is said or handed up any more", () => {
    const endpoint = server()
    for (let id = 1; id < 600; id += 2) endpoint.receive(request(id))
    endpoint.said()
    endpoint.connection.receive(request(601))
    endpoint.connection.lost("ECONNRESET")
    const told = () => endpoint.events.filter((event) => event.endsWith("reset 0 connection"))
    const first = told().length
    assert.isAbove(first, 0)
    assert.isAtMost(first, 128)
    assert.strictEqual(endpoint.streams.get(599)?.write(new Uint8Array(10)), true)
    assert.isTrue(endpoint.connection.turn(1000))
    assert.isAtMost(told().length, 2 * first)
    endpoint.turn()
    assert.strictEqual(told().length, 300)
    assert.strictEqual(new Set(told()).size, 300)
    assert.isUndefined(endpoint.streams.get(601))
    assert.deepStrictEqual(endpoint.said(), [])
  })
})

describe("RFC 9113 §6.5.3 Settings Synchronization", () => {
  it("gives up a peer that does not acknowledge", () => {
    const endpoint = new Endpoint({ role: "server", settingsMillis: 1000 })
    endpoint.receive(concat(PREFACE, settings()))
    endpoint.connection.tick(900)
    assert.isFalse(endpoint.ended)
    endpoint.connection.tick(1100)
    assert.match(endpoint.said().at(-1) ?? "", /SETTINGS_TIMEOUT/)
  })

  it("lets the peer use the default window until it has acknowledged a smaller one", () => {
    const endpoint = new Endpoint({ role: "server", settings: { initialWindow: 10 } })
    endpoint.receive(concat(PREFACE, settings(), request(1), data(1, "abcdefghijk")))
    assert.isUndefined(endpoint.closed)
    assert.isFalse(endpoint.said().some((frame) => frame.startsWith("RST_STREAM")))
    assert.strictEqual(endpoint.received.get(1), "abcdefghijk")
  })
})

describe("RFC 9113 §6.9.2 Initial Flow-Control Window Size", () => {
  it("takes an empty END_STREAM while the window that it grants is below zero", () => {
    const endpoint = new Endpoint({ role: "server", settings: { initialWindow: 10 } }, { takes: () => false })
    endpoint.receive(concat(PREFACE, settings(), request(1), data(1, "abcdefghijklmnop"), settingsAck))
    endpoint.receive(data(1, "", END_STREAM))
    assert.isFalse(endpoint.said().some((frame) => frame.startsWith("RST_STREAM")))
  })
})

describe("A client's stream that takes no more for now", () => {
  const full = () => {
    const endpoint = new Endpoint({ role: "client" }, { takes: () => false })
    const stream = openStream(endpoint)
    endpoint.receive(concat(settings(), settingsAck, response(1), data(1, "a")))
    return { endpoint, stream }
  }

  it("hears its end, or its reset, at once when nothing waits before it", () => {
    const [answered, reset] = [full(), full()]
    answered.endpoint.receive(trailers(1))
    assert.deepStrictEqual(answered.endpoint.events.slice(-2), ["1 data a", "1 end grpc-status 0"])
    reset.endpoint.receive(rst(1))
    assert.strictEqual(reset.endpoint.events.at(-1), "1 reset 8 peer")
  })

  it("hears it behind what waits", () => {
    const { endpoint, stream } = full()
    endpoint.receive(concat(data(1, "b"), trailers(1)))
    assert.strictEqual(endpoint.events.at(-1), "1 data a")
    stream.resume()
    assert.deepStrictEqual(endpoint.events.slice(-2), ["1 data ab", "1 end grpc-status 0"])
  })
})

describe("RFC 9113 §5.1.2 Stream Concurrency", () => {
  it("a client holds back what has not left when the server's first SETTINGS allow fewer", () => {
    const endpoint = new Endpoint({ role: "client" })
    // The output is full: the heads of the later streams wait.
    const first = openStream(endpoint)
    for (let i = 0; i < 5; i++) first.write(new Uint8Array(13_000))
    for (let i = 0; i < 5; i++) openStream(endpoint, [...REQUEST, "x-long", "y".repeat(16_000)])
    for (let i = 0; i < 5; i++) openStream(endpoint)
    const before = endpoint.connection.openStreams
    endpoint.receive(settings([3, 4]))
    const heads = endpoint.said().filter((frame) => frame.startsWith("HEADERS"))
    assert.isAtMost(heads.length, 4)
    assert.strictEqual(endpoint.connection.openStreams, before)
    // They are sent as the others end, and none of their identifiers is taken twice.
    const sent = heads.map((frame) => Number(frame.split(" ")[1]))
    for (let at = 0; at < sent.length; at++) {
      endpoint.receive(rst(sent[at] ?? 0))
      sent.push(
        ...endpoint.said().filter((frame) => frame.startsWith("HEADERS")).map((frame) => Number(frame.split(" ")[1]))
      )
    }
    assert.strictEqual(sent.length, before)
    assert.strictEqual(new Set(sent).size, before)
  })
})

describe("RFC 9113 §6.7 PING", () => {
  it("an answer is told to who has asked, in their order", () => {
    const endpoint = server()
    const told: Array<number> = []
    endpoint.connection.ping(() => told.push(1))
    endpoint.connection.ping(() => told.push(2))
    const [first, second] = endpoint.frames()
    endpoint.receive(ping(ACK, first?.payload))
    assert.deepStrictEqual(told, [1])
    endpoint.receive(ping(ACK, second?.payload))
    endpoint.receive(ping(ACK, second?.payload))
    endpoint.receive(ping(ACK))
    assert.deepStrictEqual(told, [1, 2])
  })

  it("a silent peer is asked, and given up", () => {
    const endpoint = client({ keepaliveMillis: 1000, keepaliveTimeoutMillis: 500 })
    endpoint.connection.tick(500)
    assert.deepStrictEqual(endpoint.said(), [])
    endpoint.connection.tick(1600)
    assert.deepStrictEqual(endpoint.said().map((frame) => frame.split(" ")[0]), ["PING"])
    endpoint.connection.tick(2000)
    assert.isUndefined(endpoint.closed)
    endpoint.connection.tick(2700)
    assert.isDefined(endpoint.closed)
  })

  it("a peer that says anything is not given up", () => {
    const endpoint = client({ keepaliveMillis: 1000, keepaliveTimeoutMillis: 500 })
    endpoint.connection.tick(1600)
    endpoint.receive(windowUpdate(0, 1))
    endpoint.connection.tick(2200)
    endpoint.connection.tick(2800)
    assert.isUndefined(endpoint.closed)
  })
})

describe("RFC 9113 §6.8 GOAWAY", () => {
  it("a server drains in two steps: first it names the highest identifier, then, after a round trip, the last it serves", () => {
    const endpoint = server()
    endpoint.receive(request(1))
    endpoint.connection.drain()
    const [first, asks] = endpoint.frames()
    assert.deepStrictEqual(first, {
      type: 7,
      flags: 0,
      id: 0,
      payload: Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0)
    })
    // A request that was under way is served.
    endpoint.receive(request(3))
    assert.strictEqual(endpoint.events.at(-1), "3 request POST /s/m")
    endpoint.receive(ping(ACK, asks?.payload))
    assert.deepStrictEqual(endpoint.said(), ["GOAWAY 3 NO_ERROR"])
    // One that comes later is not.
    endpoint.receive(request(5))
    assert.isFalse(endpoint.events.includes("5 request POST /s/m"))
    assert.isFalse(endpoint.ended)
    for (const id of [1, 3]) {
      const stream = endpoint.streams.get(id)
      stream?.respond([":status", "200"])
      stream?.end(["grpc-status", "0"])
      endpoint.receive(data(id, "", END_STREAM))
    }
    assert.isTrue(endpoint.ended)
    assert.strictEqual(endpoint.closed?.code, 0)
  })

  it("a server drains without streams", () => {
    const endpoint = server()
    endpoint.connection.drain()
    const asks = endpoint.frames()[1]
    endpoint.receive(ping(ACK, asks?.payload))
    assert.deepStrictEqual(endpoint.said(), ["GOAWAY 0 NO_ERROR"])
    assert.isTrue(endpoint.ended)
  })

  it("its last identifier never rises, were later streams refused in between", () => {
    const endpoint = server()
    endpoint.receive(request(1))
    endpoint.connection.goAway()
    endpoint.receive(concat(request(3), priority(0)))
    assert.deepStrictEqual(endpoint.said(), [
      "GOAWAY 1 NO_ERROR",
      "RST_STREAM 3 REFUSED_STREAM",
      "GOAWAY 1 PROTOCOL_ERROR"
    ])
  })

  it("a server does not wait for ever for the round trip", () => {
    const endpoint = server()
    endpoint.connection.drain()
    endpoint.said()
    endpoint.connection.tick(500)
    assert.deepStrictEqual(endpoint.said(), [])
    endpoint.connection.tick(5000)
    assert.deepStrictEqual(endpoint.said(), ["GOAWAY 0 NO_ERROR"])
    assert.isTrue(endpoint.ended)
  })

  it("a client that is told to go ends with its last stream", () => {
    const endpoint = client()
    openStream(endpoint).end()
    endpoint.receive(goaway(1))
    assert.isFalse(endpoint.ended)
    endpoint.receive(concat(response(1), trailers(1)))
    assert.isTrue(endpoint.ended)
  })

  it("a client tells apart what may be sent again (§8.7): streams above the GOAWAY, and those that never left", () => {
    const endpoint = client()
    endpoint.receive(settings([3, 2]))
    for (let i = 0; i < 3; i++) openStream(endpoint)
    endpoint.receive(goaway(1, "ENHANCE_YOUR_CALM"))
    assert.deepStrictEqual(endpoint.events, ["goaway 1 11", "0 reset 7 refused", "3 reset 7 refused"])
  })
})

describe("RFC 9113 §10.5 Denial-of-Service Considerations", () => {
  const many = (count: number, of: (i: number) => Uint8Array): Uint8Array =>
    concat(...Array.from({ length: count }, (_, i) => of(i)))
  const once = { burst: 10, perSecond: 0 }

  it.for(
    [
      ["resets", many(11, (i) => concat(request(2 * i + 1), rst(2 * i + 1)))],
      ["made_resets", many(11, (i) => concat(request(2 * i + 1), windowUpdate(2 * i + 1, 0)))],
      ["settings", many(11, () => settings())],
      ["settings", many(11, () => settingsAck)],
      ["settings", concat(request(1), many(11, () => goaway(0)))],
      ["pings", many(11, () => ping())],
      ["pings", many(11, () => ping(ACK))],
      ["empty_data", concat(request(1), many(11, () => data(1, "")))],
      ["window_updates", concat(request(1), many(11, () => windowUpdate(1, 1)))],
      ["ignored_frames", many(11, (i) => i % 2 === 0 ? priority(1) : frame(0x20, 0, 0))],
      ["stray_frames", concat(request(1), rst(1), many(11, () => windowUpdate(1, 1)))]
    ] as const
  )("beyond its rate %s ends the connection with ENHANCE_YOUR_CALM, and the limit is named", ([limit, bytes]) => {
    const endpoint = server({ rates: { [limit]: once } })
    endpoint.receive(bytes)
    assert.strictEqual(endpoint.limit, limit)
    assert.match(endpoint.said().at(-1) ?? "", /^GOAWAY \d+ ENHANCE_YOUR_CALM$/)
    assert.isTrue(endpoint.ended)
  })

  it.for(
    [
      ["resets", (i: number) => concat(request(2 * i + 1), rst(2 * i + 1))],
      ["settings", () => settings()],
      ["pings", () => ping()]
    ] as const
  )("within its rate %s go on for ever", ([limit, of]) => {
    const endpoint = server({ rates: { [limit]: { burst: 10, perSecond: 10 } } })
    for (let i = 0; i < 200; i++) {
      endpoint.receive(of(i))
      endpoint.connection.tick(i * 100)
      endpoint.take()
    }
    assert.isUndefined(endpoint.closed)
  })

  it("200 cancelled streams a second for a minute are no attack by the defaults", () => {
    const endpoint = server()
    for (let i = 0; i < 12_000; i++) {
      endpoint.receive(concat(request(2 * i + 1), rst(2 * i + 1)))
      if (i % 100 === 0) endpoint.connection.tick(i * 5)
      endpoint.take()
    }
    assert.isUndefined(endpoint.closed)
    assert.strictEqual(endpoint.connection.openStreams, 0)
  })

  it("CONTINUATION without end is cut off, by frames and by octets", () => {
    for (const [part, most] of [[new Uint8Array(0), 100], [new Uint8Array(16_000).fill(0x20), 10]] as const) {
      const endpoint = server()
      endpoint.receive(concat(headers(1, part, 0), many(most, () => continuation(1, part, 0))))
      assert.strictEqual(endpoint.limit, "header_block")
      assert.match(endpoint.said().at(-1) ?? "", /^GOAWAY 0 ENHANCE_YOUR_CALM$/)
    }
  })

  it("a field block that unpacks to thousands of fields is refused to the layer above, and the connection lives", () => {
    const endpoint = server({ settings: { maxHeaderList: 16_384 } })
    const entry = Uint8Array.from([0x40, 1, 0x61, 0x7f, 0xa1, 0x1e, ...new Uint8Array(4000).fill(0x78)])
    endpoint.receive(headers(1, concat(BLOCK, entry, new Uint8Array(10_000).fill(0xbe)), END_HEADERS))
    assert.deepStrictEqual(endpoint.events, ["1 request POST /s/m too large"])
    endpoint.receive(request(3))
    assert.strictEqual(endpoint.events.at(-1), "3 request POST /s/m")
  })

  it("a peer that never reads the answers to its PINGs is cut off", () => {
    const endpoint = server({ rates: { pings: { burst: 1_000_000, perSecond: 0 } } })
    const flood = many(1000, () => ping())
    for (let i = 0; i < 100; i++) {
      endpoint.receive(flood)
      endpoint.connection.tick(i)
    }
    assert.strictEqual(endpoint.limit, "unread_output")
    assert.isTrue(endpoint.ended)
  })

  it("a peer that opens no window keeps what waits for it bounded", () => {
    const endpoint = server()
    endpoint.receive(concat(settings([4, 0]), request(1)))
    const stream = endpoint.streams.get(1)
    stream?.respond([":status", "200"])
    let written = 0
    while (written < 1_000_000 && stream?.write(new Uint8Array(1000)) === true) written += 1000
    assert.isBelow(written, 100_000)
  })
})

section("RFC 9113 §7 Error Codes", [
  {
    must: "a server takes GOAWAY with an unknown code, and ends with its last stream",
    comes: [request(1), frame(7, 0, 0, Uint8Array.of(0, 0, 0, 0, 0xff, 0, 0, 0))],
    heard: [`goaway 0 ${0xff000000}`, "1 request POST /s/m"]
  },
  {
    must: "a client lets its stream go on after a GOAWAY with an unknown code",
    role: "client",
    before: opens(1),
    comes: [frame(7, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 99)), response(1)],
    heard: ["goaway 1 99", "1 headers 200"]
  }
])
