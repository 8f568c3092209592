import { HEADS, opens, plain, request, response, section, trailers } from "../support/cases.ts"
import { type Endpoint, openStream, REQUEST, RESPONSE } from "../support/endpoint.ts"
import {
  data,
  END_HEADERS,
  END_STREAM,
  frame,
  goaway,
  headers,
  ping,
  rst,
  settings,
  settingsAck,
  windowUpdate
} from "../support/frames.ts"

const BLOCK = plain(REQUEST)
const PING_ACK = "PING ACK 0102030405060708"
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const heard = (id: number): string => `${id} request POST /s/m`

section("RFC 9113 §5.1 Stream States: idle", [
  ...[
    ["DATA", data(1, "x")],
    ["RST_STREAM", rst(1)],
    ["WINDOW_UPDATE", windowUpdate(1, 1)]
  ].map(([name, frame]) => ({
    must: `a server refuses ${String(name)}`,
    comes: [frame as Uint8Array],
    error: "PROTOCOL_ERROR" as const
  })),
  ...[
    ["DATA", data(1, "x")],
    ["HEADERS", response(1)],
    ["RST_STREAM", rst(1)],
    ["WINDOW_UPDATE", windowUpdate(1, 1)],
    ["HEADERS on a stream of its own choice", response(2)]
  ].map(([name, frame]) => ({
    must: `a client refuses ${String(name)}`,
    role: "client" as const,
    comes: [frame as Uint8Array],
    error: "PROTOCOL_ERROR" as const
  }))
])

section("RFC 9113 §5.1 Stream States: half-closed (remote)", [
  {
    must: "answers DATA with a stream error STREAM_CLOSED",
    comes: [request(1, END_HEADERS | END_STREAM), data(1, "x"), ping()],
    said: ["RST_STREAM 1 STREAM_CLOSED", PING_ACK]
  },
  {
    must: "answers HEADERS with a stream error STREAM_CLOSED",
    comes: [request(1, END_HEADERS | END_STREAM), trailers(1), ping()],
    said: ["RST_STREAM 1 STREAM_CLOSED", PING_ACK]
  },
  {
    must: "takes WINDOW_UPDATE and RST_STREAM",
    comes: [request(1, END_HEADERS | END_STREAM), windowUpdate(1, 10), rst(1), ping()],
    said: [PING_ACK]
  },
  {
    must: "lets the server answer",
    comes: [request(1, END_HEADERS | END_STREAM)],
    after: (endpoint) => {
      const stream = endpoint.streams.get(1)
      stream?.respond(RESPONSE)
      stream?.write(bytes("hello"))
      stream?.end(["grpc-status", "0"])
    },
    said: [
      "HEADERS 1 :status=200 content-type=application/grpc",
      "DATA 1 hello",
      "HEADERS 1 END_STREAM grpc-status=0"
    ]
  }
])

section("RFC 9113 §5.1 Stream States: half-closed (local)", [
  {
    must: "lets the client hear the rest",
    role: "client",
    before: (endpoint) => openStream(endpoint).end(),
    comes: [response(1), data(1, "a"), data(1, "b"), trailers(1)],
    heard: ["1 headers 200", "1 data ab", "idle", "1 end grpc-status 0"],
    said: []
  },
  {
    must: "lets the client hear a reset",
    role: "client",
    before: (endpoint) => openStream(endpoint).end(),
    comes: [response(1), data(1, "a"), rst(1, "INTERNAL_ERROR")],
    heard: ["1 headers 200", "1 data a", "idle", "1 reset 2 peer"],
    said: []
  }
])

section("RFC 9113 §5.1 Stream States: closed", [
  {
    must: "ignores what was under way when we reset the stream",
    comes: [request(1), windowUpdate(1, 0), data(1, "x"), windowUpdate(1, 1), trailers(1), rst(1), ping()],
    said: ["RST_STREAM 1 PROTOCOL_ERROR", PING_ACK]
  },
  {
    must: "ignores WINDOW_UPDATE and RST_STREAM after both ends",
    role: "client",
    before: (endpoint) => openStream(endpoint).end(),
    comes: [response(1, END_HEADERS | END_STREAM), windowUpdate(1, 1), rst(1), ping()],
    said: [PING_ACK]
  },
  {
    must: "ignores what was under way when we refused the stream, trailers too",
    options: { settings: { maxStreams: 1 } },
    comes: [request(1), request(3), data(3, "x"), trailers(3), ping()],
    said: ["RST_STREAM 3 REFUSED_STREAM", PING_ACK]
  },
  {
    must: "ignores what was under way when we called the request malformed, trailers too",
    comes: [request(1, END_HEADERS, [...REQUEST, "A", "b"]), data(1, "x"), trailers(1), ping()],
    said: ["RST_STREAM 1 PROTOCOL_ERROR", PING_ACK]
  },
  {
    must: "refuses HEADERS on a stream that was ended by both sides",
    behaviour: HEADS.answersAtOnce,
    comes: [request(1, END_HEADERS | END_STREAM)],
    after: (endpoint) => endpoint.receive(request(1)),
    error: "STREAM_CLOSED"
  },
  {
    must: "answers DATA after the peer's own reset with STREAM_CLOSED",
    comes: [request(1), rst(1), data(1, "x"), ping()],
    said: ["RST_STREAM 1 STREAM_CLOSED", PING_ACK]
  },
  {
    must: "counts DATA on a closed stream against the connection's window (§6.9)",
    options: { connectionWindow: 65_535 },
    comes: [request(1), rst(1), ...Array.from({ length: 2 }, () => data(1, new Uint8Array(16_384)))],
    said: ["RST_STREAM 1 STREAM_CLOSED", "WINDOW_UPDATE 0 32768", "RST_STREAM 1 STREAM_CLOSED"]
  }
])

section("RFC 9113 §5.1.1 Stream Identifiers", [
  { must: "a client's streams are odd", comes: [headers(2, BLOCK)], error: "PROTOCOL_ERROR" },
  {
    must: "refuses an identifier below the highest so far, which closes the idle ones below it",
    comes: [request(5), request(3)],
    error: "PROTOCOL_ERROR"
  },
  { must: "lets identifiers be left out", comes: [request(1), request(101)], heard: [heard(1), heard(101)], said: [] },
  {
    must: "takes the highest identifier",
    comes: [request(0x7fffffff)],
    heard: [heard(0x7fffffff)]
  },
  {
    must: "a client counts up by two and uses none twice",
    role: "client",
    comes: [],
    after: (endpoint) => {
      openStream(endpoint).reset()
      openStream(endpoint)
    },
    said: [
      "HEADERS 1 :method=POST :scheme=http :path=/s/m :authority=a te=trailers content-type=application/grpc",
      "RST_STREAM 1 CANCEL",
      "HEADERS 3 :method=POST :scheme=http :path=/s/m :authority=a te=trailers content-type=application/grpc"
    ]
  }
])

section("RFC 9113 §5.1.2 Stream Concurrency", [
  {
    must: "refuses streams beyond what was advertised with REFUSED_STREAM",
    options: { settings: { maxStreams: 2 } },
    comes: [request(1), request(3), request(5), rst(1), request(7)],
    heard: [heard(3), heard(7)],
    said: ["RST_STREAM 5 REFUSED_STREAM"]
  },
  {
    must: "a client opens no more than the server allows, the next when one ends",
    role: "client",
    before: opens(1),
    comes: [settings([3, 1])],
    after: (endpoint) => {
      openStream(endpoint)
      if (endpoint.said().some((frame) => frame.startsWith("HEADERS"))) throw new Error("opened too many")
      endpoint.receive(rst(1))
    },
    said: ["HEADERS 3 :method=POST :scheme=http :path=/s/m :authority=a te=trailers content-type=application/grpc"]
  },
  {
    must: "a client keeps what is open when the server allows less",
    role: "client",
    before: opens(3),
    comes: [settings([3, 0]), response(3), trailers(3)],
    heard: ["3 headers 200", "3 end grpc-status 0"],
    said: ["SETTINGS ACK"]
  }
])

section("RFC 9113 §5.2, §6.9.1 The Flow-Control Window: sending", [
  {
    must: "sends no more than the stream's window",
    role: "client",
    before: opens(1),
    comes: [settings([4, 5])],
    after: (endpoint) => {
      const stream = openStream(endpoint)
      endpoint.said()
      stream.write(bytes("abcdefgh"))
      stream.end()
      endpoint.receive(windowUpdate(3, 2))
      endpoint.receive(windowUpdate(3, 100))
    },
    said: ["DATA 3 abcde", "DATA 3 fg", "DATA 3 END_STREAM h"]
  },
  {
    must: "sends no more than the connection's window, and goes on when it opens",
    role: "client",
    before: (endpoint) => {
      const [first, second] = [openStream(endpoint), openStream(endpoint)]
      first.write(new Uint8Array(65_530))
      endpoint.said()
      second.write(bytes("abcdefgh"))
    },
    comes: [windowUpdate(0, 2)],
    said: ["DATA 3 fg"]
  },
  {
    must: "lets a window be negative after SETTINGS, and waits until it is positive (§6.9.2)",
    role: "client",
    before: (endpoint) => void openStream(endpoint).write(bytes("abcdefgh")),
    comes: [settings([4, 3])],
    after: (endpoint) => {
      const say = (frame: Uint8Array): void => {
        endpoint.receive(frame)
        endpoint.events.push(...endpoint.said())
      }
      // The window is -5.
      endpoint.events.push(...endpoint.said())
      void write(endpoint, 1, "xyz")
      say(windowUpdate(1, 5))
      say(windowUpdate(1, 1))
      say(settings([4, 4]))
    },
    heard: ["SETTINGS ACK", "DATA 1 x", "SETTINGS ACK", "DATA 1 y"]
  },
  {
    must: "does not move the connection's window with SETTINGS (§6.9.2)",
    role: "client",
    before: (endpoint) => {
      const stream = openStream(endpoint)
      stream.write(new Uint8Array(65_535))
      stream.write(bytes("x"))
    },
    comes: [settings([4, 1_000_000])],
    said: ["SETTINGS ACK"]
  },
  {
    must: "sends an empty END_STREAM without a window",
    role: "client",
    before: opens(1),
    comes: [settings([4, 0])],
    after: (endpoint) => {
      const stream = openStream(endpoint)
      endpoint.said()
      stream.end()
    },
    said: ["DATA 3 END_STREAM"]
  },
  {
    must: "sends trailers without a window",
    comes: [settings([4, 0]), request(1)],
    after: (endpoint) => {
      endpoint.said()
      const stream = endpoint.streams.get(1)
      stream?.respond(RESPONSE)
      stream?.end(["grpc-status", "0"])
    },
    said: ["HEADERS 1 :status=200 content-type=application/grpc", "HEADERS 1 END_STREAM grpc-status=0"]
  },
  {
    must: "sends nothing in frames beyond 16,384 octets, were larger allowed",
    role: "client",
    before: opens(1),
    comes: [settings([5, 0xffffff])],
    after: (endpoint) => {
      endpoint.said()
      write(endpoint, 1, "a".repeat(20_000))
      endpoint.events.push(...endpoint.said().map((frame) => `${frame.slice(0, 6)} ${frame.length - 7}`))
    },
    heard: ["DATA 1 16384", "DATA 1 3616"]
  }
])

/** Writes on a client's stream that `opens` has opened. */
function write(endpoint: Endpoint, id: number, text: string): void {
  endpoint.opened.get(id)?.write(bytes(text))
}

section("RFC 9113 §6.9.1 The Flow-Control Window: receiving", [
  {
    must: "answers DATA beyond the stream's window with FLOW_CONTROL_ERROR",
    options: { settings: { initialWindow: 65_535 }, connectionWindow: 1 << 20 },
    behaviour: { takes: () => false },
    comes: [request(1), ...Array.from({ length: 4 }, () => data(1, new Uint8Array(16_383))), data(1, "abcd"), ping()],
    said: ["RST_STREAM 1 FLOW_CONTROL_ERROR", PING_ACK]
  },
  {
    must: "gives the connection's window back before it is shut, whole windows long",
    options: { settings: { initialWindow: 1 << 20 }, connectionWindow: 65_535 },
    comes: [request(1), ...Array.from({ length: 12 }, () => data(1, new Uint8Array(16_384)))],
    said: Array.from({ length: 6 }, () => "WINDOW_UPDATE 0 32768")
  },
  {
    must: "gives a stream's window back as its bytes are taken, and the connection's as they come",
    options: { settings: { initialWindow: 65_535 }, connectionWindow: 65_535 },
    comes: [request(1), data(1, new Uint8Array(16_384)), data(1, new Uint8Array(16_384))],
    said: ["WINDOW_UPDATE 0 32768", "WINDOW_UPDATE 1 32768"]
  },
  {
    must: "holds a stream back that is not taken, and not its neighbours",
    options: { settings: { initialWindow: 65_535 }, connectionWindow: 65_535 },
    behaviour: { takes: () => false },
    comes: [request(1), data(1, "x"), data(1, new Uint8Array(16_384)), data(1, new Uint8Array(16_384))],
    said: ["WINDOW_UPDATE 0 32769"]
  },
  {
    must: "counts padding, and gives it back, were it nothing but padding (§6.1)",
    options: { settings: { initialWindow: 65_535 }, connectionWindow: 65_535 },
    comes: [request(1)],
    after: (endpoint) => {
      const padding = frame(0, 8, 1, new Uint8Array(256).fill(255, 0, 1))
      for (let i = 0; i < 256; i++) endpoint.receive(padding)
    },
    said: ["WINDOW_UPDATE 0 32768", "WINDOW_UPDATE 1 32768", "WINDOW_UPDATE 0 32768", "WINDOW_UPDATE 1 32768"]
  },
  {
    must: "holds the peer to a window below the default once it has acknowledged it (§6.5.3, §6.9.2)",
    options: { settings: { initialWindow: 10 } },
    comes: [request(1), data(1, "abcdefghijk"), ping()],
    said: ["RST_STREAM 1 FLOW_CONTROL_ERROR", PING_ACK]
  }
])

section("RFC 9113 §5.4.2 Stream Error Handling", [
  {
    must: "sends RST_STREAM, and goes on with the other streams",
    comes: [request(1), request(3), windowUpdate(1, 0), data(3, "x", END_STREAM)],
    heard: [heard(3), "3 data x", "3 end"],
    said: ["RST_STREAM 1 PROTOCOL_ERROR"]
  },
  {
    must: "never answers RST_STREAM with RST_STREAM",
    comes: [request(1), rst(1), rst(1), rst(1)],
    said: []
  }
])

section("RFC 9113 §8.7 Request Reliability", [
  {
    must: "calls refused what the server says it has not processed",
    role: "client",
    before: opens(1),
    comes: [rst(1, "REFUSED_STREAM")],
    heard: ["idle", "1 reset 7 refused"]
  },
  {
    must: "does not call refused what has been answered",
    role: "client",
    before: opens(1),
    comes: [response(1), rst(1, "REFUSED_STREAM")],
    heard: ["1 headers 200", "idle", "1 reset 7 peer"]
  },
  {
    must: "does not call refused what a GOAWAY lets go on",
    role: "client",
    before: opens(1),
    comes: [goaway(1, "INTERNAL_ERROR")],
    heard: ["goaway 1 2"]
  }
])

section("RFC 9113 §6.5.3 Settings Synchronization", [
  {
    must: "uses its own smaller window from the acknowledgement on",
    options: { settings: { initialWindow: 10 } },
    comes: [settingsAck, request(1), data(1, "abcdefghij")],
    said: ["WINDOW_UPDATE 1 10"]
  }
])
