import { opens, plain, request, response, section, trailers } from "../support/cases.ts"
import { REQUEST } from "../support/endpoint.ts"
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
  PADDED,
  ping,
  PRIORITY,
  priority,
  rst,
  settings,
  settingsAck,
  u32,
  windowUpdate
} from "../support/frames.ts"

const BLOCK = plain(REQUEST)
const HEARD = "1 request POST /s/m"
const PING_ACK = "PING ACK 0102030405060708"

section("RFC 9113 §4.1 Frame Format", [
  {
    must: "ignores flags that have no meaning for the type",
    comes: [frame(6, 0xfe, 0, new Uint8Array(8)), frame(8, 0xff, 0, u32(1)), frame(4, 0xf0, 0)],
    said: ["PING ACK 0000000000000000", "SETTINGS ACK"]
  },
  {
    must: "ignores the reserved bit of the stream identifier",
    comes: [frame(1, END_HEADERS, 0x80000001, BLOCK), frame(6, 0, 0x80000000, new Uint8Array(8))],
    heard: [HEARD],
    said: ["PING ACK 0000000000000000"]
  },
  {
    must: "ignores the reserved bit of a window increment",
    comes: [frame(8, 0, 0, u32(0x80000001))],
    said: []
  }
])

section("RFC 9113 §4.2 Frame Size", [
  {
    must: "takes a frame of 16,384 octets",
    comes: [request(1), data(1, new Uint8Array(16_384).fill(0x61))],
    heard: [HEARD, `1 data ${"a".repeat(16_384)}`]
  },
  {
    must: "refuses one octet more, before it comes",
    comes: [request(1), frame(0, 0, 1, new Uint8Array(0), 16_385)],
    error: "FRAME_SIZE_ERROR"
  },
  ...[1, 2, 3, 4, 6, 7, 8, 9, 0x20].map((type) => ({
    must: `refuses 16,385 octets of type ${type}`,
    comes: [frame(type, 0, 1, new Uint8Array(0), 16_385)],
    error: "FRAME_SIZE_ERROR" as const
  })),
  { must: "wants five octets in PRIORITY", comes: [frame(2, 0, 1, new Uint8Array(4))], error: "FRAME_SIZE_ERROR" },
  {
    must: "wants four octets in RST_STREAM",
    comes: [request(1), frame(3, 0, 1, new Uint8Array(5))],
    error: "FRAME_SIZE_ERROR"
  },
  { must: "wants eight octets in PING", comes: [frame(6, 0, 0, new Uint8Array(7))], error: "FRAME_SIZE_ERROR" },
  {
    must: "wants eight octets in GOAWAY at least",
    comes: [frame(7, 0, 0, new Uint8Array(7))],
    error: "FRAME_SIZE_ERROR"
  },
  { must: "wants four octets in WINDOW_UPDATE", comes: [frame(8, 0, 0, new Uint8Array(3))], error: "FRAME_SIZE_ERROR" },
  {
    must: "wants the pad length in padded DATA",
    comes: [request(1), frame(0, PADDED, 1)],
    error: "FRAME_SIZE_ERROR"
  },
  {
    must: "wants the pad length in padded HEADERS",
    comes: [frame(1, PADDED | END_HEADERS, 1)],
    error: "FRAME_SIZE_ERROR"
  },
  {
    must: "wants the priority's five octets in HEADERS with PRIORITY",
    comes: [frame(1, PRIORITY | END_HEADERS, 1, new Uint8Array(4))],
    error: "FRAME_SIZE_ERROR"
  }
])

section("RFC 9113 §4.3 Field Section Compression", [
  {
    must: "treats a block that cannot be decoded as a connection error COMPRESSION_ERROR",
    comes: [headers(1, Uint8Array.of(0x80))],
    error: "COMPRESSION_ERROR"
  },
  {
    must: "decodes blocks it has no use for: a stream that is refused leaves the table in step",
    options: { settings: { maxStreams: 1 } },
    comes: [
      request(1),
      headers(3, concat(BLOCK, Uint8Array.from([0x40, 1, 0x61, 1, 0x62]))),
      headers(1, Uint8Array.of(0xbe), END_HEADERS | END_STREAM)
    ],
    heard: [HEARD, "1 end a b"],
    said: ["RST_STREAM 3 REFUSED_STREAM"]
  },
  {
    must: "decodes blocks it has no use for: trailers that cross with a reset of ours",
    comes: [
      request(1),
      windowUpdate(1, 0),
      headers(1, Uint8Array.from([0x40, 1, 0x61, 1, 0x62]), END_HEADERS | END_STREAM),
      headers(3, concat(BLOCK, Uint8Array.of(0xbe)))
    ],
    said: ["RST_STREAM 1 PROTOCOL_ERROR"],
    heard: ["idle", "3 request POST /s/m"]
  },
  ...[data(1, "x"), ping(), settings(), rst(1), priority(1), frame(0x20, 0, 0), headers(3, BLOCK), windowUpdate(0, 1)]
    .map((
      other
    ) => ({
      must: `wants a field block's frames in a row: no frame of type ${other[3]} in between`,
      comes: [headers(1, BLOCK.slice(0, 4), 0), other],
      error: "PROTOCOL_ERROR" as const
    })),
  {
    must: "wants a field block's frames on one stream",
    comes: [headers(1, BLOCK.slice(0, 4), 0), continuation(3, BLOCK.slice(4))],
    error: "PROTOCOL_ERROR"
  },
  {
    must: "joins a field block cut anywhere",
    comes: [headers(1, BLOCK.slice(0, 1), 0), continuation(1, BLOCK.slice(1, 9), 0), continuation(1, BLOCK.slice(9))],
    heard: [HEARD]
  },
  {
    must: "joins a field block with empty parts",
    comes: [headers(1, new Uint8Array(0), 0), continuation(1, new Uint8Array(0), 0), continuation(1, BLOCK)],
    heard: [HEARD]
  }
])

section("RFC 9113 §5.5 Extending HTTP/2", [
  {
    must: "ignores frames of unknown types, on any stream",
    comes: [
      frame(0x20, 0xff, 0, new Uint8Array(20)),
      frame(0xff, 0, 99),
      request(1),
      frame(0x0a, 0, 1, new Uint8Array(3)),
      ping()
    ],
    heard: [HEARD],
    said: [PING_ACK]
  },
  {
    must: "refuses an unknown frame within a field block",
    comes: [headers(1, BLOCK, 0), frame(0x20, 0, 1)],
    error: "PROTOCOL_ERROR"
  }
])

section("RFC 9113 §6.1 DATA", [
  { must: "refuses DATA on stream 0", comes: [data(0, "x")], error: "PROTOCOL_ERROR" },
  {
    must: "hands up the payload without its padding",
    comes: [request(1), frame(0, PADDED, 1, Uint8Array.of(3, 0x61, 0x62, 0, 0, 0)), data(1, "c", END_STREAM)],
    heard: [HEARD, "1 data abc", "1 end"]
  },
  {
    must: "takes DATA that is all padding",
    comes: [request(1), frame(0, PADDED | END_STREAM, 1, Uint8Array.of(2, 0, 0))],
    heard: [HEARD, "1 end"]
  },
  {
    must: "refuses padding as long as the payload",
    comes: [request(1), frame(0, PADDED, 1, Uint8Array.of(3, 0, 0))],
    error: "PROTOCOL_ERROR"
  },
  {
    must: "answers DATA on a stream that the peer has ended with STREAM_CLOSED",
    comes: [request(1, END_HEADERS | END_STREAM), data(1, "x")],
    heard: ["idle"],
    said: ["RST_STREAM 1 STREAM_CLOSED"]
  },
  { must: "refuses DATA on an idle stream (§5.1)", comes: [data(1, "x")], error: "PROTOCOL_ERROR" }
])

section("RFC 9113 §6.2 HEADERS", [
  { must: "refuses HEADERS on stream 0", comes: [headers(0, BLOCK)], error: "PROTOCOL_ERROR" },
  {
    must: "takes off padding and the priority",
    comes: [
      frame(
        1,
        PADDED | PRIORITY | END_HEADERS | END_STREAM,
        1,
        concat(Uint8Array.of(2, 0, 0, 0, 0, 9), BLOCK, new Uint8Array(2))
      )
    ],
    heard: [HEARD, "1 end"]
  },
  {
    must: "refuses padding longer than what is left",
    comes: [frame(1, PADDED | END_HEADERS, 1, concat(Uint8Array.of(200), BLOCK))],
    error: "PROTOCOL_ERROR"
  },
  {
    must: "lets END_STREAM of HEADERS hold for the block that CONTINUATION completes",
    comes: [headers(1, BLOCK.slice(0, 5), END_STREAM), continuation(1, BLOCK.slice(5))],
    heard: [HEARD, "1 end"]
  }
])

section("RFC 9113 §6.3 PRIORITY", [
  { must: "refuses PRIORITY on stream 0", comes: [priority(0)], error: "PROTOCOL_ERROR" },
  { must: "takes it in any state: idle", comes: [priority(7), ping()], said: [PING_ACK] },
  {
    must: "takes it in any state: half-closed and closed",
    comes: [request(1, END_HEADERS | END_STREAM), priority(1), rst(1), priority(1), ping()],
    said: [PING_ACK]
  }
])

section("RFC 9113 §6.4 RST_STREAM", [
  { must: "refuses RST_STREAM on stream 0", comes: [rst(0)], error: "PROTOCOL_ERROR" },
  { must: "refuses RST_STREAM on an idle stream", comes: [rst(1)], error: "PROTOCOL_ERROR" },
  {
    must: "ends the stream, and answers nothing (§5.4.2)",
    comes: [request(1), rst(1)],
    after: (endpoint) => endpoint.turn(),
    said: []
  },
  {
    must: "takes unknown error codes (§7)",
    role: "client",
    before: opens(1),
    comes: [frame(3, 0, 1, u32(0xfedcba98))],
    heard: ["idle", `1 reset ${0xfedcba98} peer`],
    said: []
  },
  {
    must: "ignores what follows of a stream that was reset twice",
    comes: [request(1), rst(1), rst(1), windowUpdate(1, 5), ping()],
    said: [PING_ACK]
  }
])

section("RFC 9113 §6.5 SETTINGS", [
  { must: "acknowledges each", comes: [settings([3, 5]), settings()], said: ["SETTINGS ACK", "SETTINGS ACK"] },
  { must: "refuses SETTINGS on a stream", comes: [frame(4, 0, 1)], error: "PROTOCOL_ERROR" },
  {
    must: "refuses a length that is no multiple of 6",
    comes: [frame(4, 0, 0, new Uint8Array(5))],
    error: "FRAME_SIZE_ERROR"
  },
  {
    must: "refuses an acknowledgement with a payload",
    comes: [frame(4, ACK, 0, new Uint8Array(6))],
    error: "FRAME_SIZE_ERROR"
  },
  { must: "takes an acknowledgement that it waits for no more", comes: [settingsAck, ping()], said: [PING_ACK] },
  { must: "ignores unknown settings (§6.5.2)", comes: [settings([0x99, 7], [0, 0xffffffff])], said: ["SETTINGS ACK"] },
  { must: "refuses ENABLE_PUSH beyond 1 (§6.5.2)", comes: [settings([2, 2])], error: "PROTOCOL_ERROR" },
  { must: "takes ENABLE_PUSH of 0 and 1 from a client", comes: [settings([2, 0], [2, 1])], said: ["SETTINGS ACK"] },
  {
    must: "refuses ENABLE_PUSH of 1 from a server",
    role: "client",
    comes: [settings([2, 1])],
    error: "PROTOCOL_ERROR"
  },
  { must: "takes ENABLE_PUSH of 0 from a server", role: "client", comes: [settings([2, 0])], said: ["SETTINGS ACK"] },
  {
    must: "refuses INITIAL_WINDOW_SIZE beyond 2^31-1 (§6.5.2)",
    comes: [settings([4, 0x80000000])],
    error: "FLOW_CONTROL_ERROR"
  },
  { must: "takes INITIAL_WINDOW_SIZE of 2^31-1", comes: [settings([4, 0x7fffffff])], said: ["SETTINGS ACK"] },
  { must: "refuses MAX_FRAME_SIZE below 16,384 (§6.5.2)", comes: [settings([5, 16_383])], error: "PROTOCOL_ERROR" },
  { must: "refuses MAX_FRAME_SIZE beyond 2^24-1 (§6.5.2)", comes: [settings([5, 0x1000000])], error: "PROTOCOL_ERROR" },
  { must: "takes MAX_FRAME_SIZE of 2^24-1", comes: [settings([5, 0xffffff])], said: ["SETTINGS ACK"] },
  {
    must: "takes values in the order they come in: the last of a kind holds (§6.5.3)",
    role: "client",
    before: opens(1),
    comes: [settings([4, 0], [4, 3])],
    after: (endpoint) => {
      const stream = endpoint.connection.open(REQUEST, endpoint.handler(() => 3))
      stream?.write(new TextEncoder().encode("abcdef"))
    },
    said: [
      "SETTINGS ACK",
      "HEADERS 3 :method=POST :scheme=http :path=/s/m :authority=a te=trailers content-type=application/grpc",
      "DATA 3 abc"
    ]
  }
])

section("RFC 9113 §4.3.1 Compression State", [
  {
    must: "an encoder goes down to each size of the table that SETTINGS name, were it in one frame",
    role: "client",
    before: opens(1),
    comes: [settings([1, 0], [1, 4096])],
    after: (endpoint) => {
      endpoint.said()
      endpoint.connection.open(REQUEST, endpoint.handler(() => 3))
      const [head] = endpoint.frames()
      // Size updates to 0 and to 4096 (RFC 7541 §4.2).
      endpoint.events.push(Buffer.from(head?.payload.subarray(0, 4) ?? []).toString("hex"))
    },
    heard: ["203fe11f"]
  }
])

section("RFC 9113 §6.6, §8.4 PUSH_PROMISE", [
  {
    must: "is an error for a client that has switched push off",
    role: "client",
    before: opens(1),
    comes: [frame(5, END_HEADERS, 1, concat(u32(2), BLOCK))],
    error: "PROTOCOL_ERROR"
  },
  {
    must: "is an error for a server",
    comes: [request(1), frame(5, END_HEADERS, 1, concat(u32(2), BLOCK))],
    error: "PROTOCOL_ERROR"
  }
])

section("RFC 9113 §6.7 PING", [
  { must: "is acknowledged with its own payload", comes: [ping()], said: [PING_ACK] },
  { must: "is not acknowledged when it is an acknowledgement", comes: [ping(ACK)], said: [] },
  { must: "is refused on a stream", comes: [frame(6, 0, 1, new Uint8Array(8))], error: "PROTOCOL_ERROR" }
])

section("RFC 9113 §6.8 GOAWAY", [
  { must: "is refused on a stream", comes: [frame(7, 0, 1, new Uint8Array(8))], error: "PROTOCOL_ERROR" },
  {
    must: "ends with REFUSED_STREAM what the server has not taken, and lets the rest end",
    role: "client",
    before: opens(2),
    comes: [goaway(1), response(1), trailers(1)],
    heard: ["goaway 1 0", "3 reset 7 refused", "1 headers 200", "1 end grpc-status 0"]
  },
  {
    must: "lets no stream be opened any more",
    role: "client",
    before: opens(1),
    comes: [goaway(1)],
    after: (endpoint) => {
      if (endpoint.connection.open(REQUEST, endpoint.handler(() => 0)) !== undefined) throw new Error("opened")
    },
    heard: ["goaway 1 0"]
  },
  {
    must: "may come again with a lower identifier",
    role: "client",
    before: opens(2),
    comes: [goaway(0x7fffffff), goaway(1)],
    heard: [`goaway ${0x7fffffff} 0`, "goaway 1 0", "3 reset 7 refused"]
  }
])

section("RFC 9113 §6.9 WINDOW_UPDATE", [
  { must: "refuses an increment of 0 for the connection", comes: [windowUpdate(0, 0)], error: "PROTOCOL_ERROR" },
  {
    must: "answers an increment of 0 on a stream with a stream error PROTOCOL_ERROR",
    comes: [request(1), windowUpdate(1, 0), request(3)],
    said: ["RST_STREAM 1 PROTOCOL_ERROR"],
    heard: ["idle", "3 request POST /s/m"]
  },
  { must: "refuses it on an idle stream (§5.1)", comes: [windowUpdate(1, 1)], error: "PROTOCOL_ERROR" },
  {
    must: "refuses a connection's window beyond 2^31-1 (§6.9.1)",
    comes: [windowUpdate(0, 0x7fffffff)],
    error: "FLOW_CONTROL_ERROR"
  },
  {
    must: "takes a connection's window of 2^31-1",
    comes: [windowUpdate(0, 0x7fffffff - 65_535), ping()],
    said: [PING_ACK]
  },
  {
    must: "answers a stream's window beyond 2^31-1 with a stream error FLOW_CONTROL_ERROR (§6.9.1)",
    comes: [request(1), windowUpdate(1, 0x7fffffff)],
    said: ["RST_STREAM 1 FLOW_CONTROL_ERROR"]
  },
  {
    must: "refuses SETTINGS that make a stream's window larger than 2^31-1 (§6.9.2)",
    comes: [request(1), windowUpdate(1, 0x7fffffff - 65_535), settings([4, 65_536])],
    error: "FLOW_CONTROL_ERROR"
  }
])

section("RFC 9113 §6.10 CONTINUATION", [
  { must: "is refused without a field block", comes: [continuation(1, BLOCK)], error: "PROTOCOL_ERROR" },
  { must: "is refused after a whole one", comes: [request(1), continuation(1, BLOCK)], error: "PROTOCOL_ERROR" },
  { must: "is refused on stream 0", comes: [headers(1, BLOCK, 0), continuation(0, BLOCK)], error: "PROTOCOL_ERROR" }
])
