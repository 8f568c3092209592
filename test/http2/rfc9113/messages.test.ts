import { HEADS, opens, plain, request, response, section, trailers } from "../support/cases.ts"
import { REQUEST, RESPONSE } from "../support/endpoint.ts"
import { data, END_HEADERS, END_STREAM, frame, headers, ping } from "../support/frames.ts"

const PING_ACK = "PING ACK 0102030405060708"
const heard = (id: number): string => `${id} request POST /s/m`
const MALFORMED = ["RST_STREAM 1 PROTOCOL_ERROR", PING_ACK]

/** The request without the named fields. */
const without = (...names: ReadonlyArray<string>): Array<string> =>
  REQUEST.flatMap((text, i) => i % 2 === 0 && !names.includes(text) ? [text, REQUEST[i + 1] ?? ""] : [])

const malformedRequest = (must: string, fields: ReadonlyArray<string>) => ({
  must,
  comes: [request(1, END_HEADERS, fields), ping()],
  heard: [],
  said: MALFORMED
})

const malformedResponse = (must: string, fields: ReadonlyArray<string>) => ({
  must,
  role: "client" as const,
  before: opens(1),
  comes: [response(1, END_HEADERS, fields), ping()],
  heard: ["idle", "1 reset 1 local"],
  said: MALFORMED
})

section("RFC 9113 §8.1 HTTP Message Framing", [
  {
    must: "takes head, body and trailers of a request",
    comes: [request(1), data(1, "a"), trailers(1, ["x", "y"])],
    heard: [heard(1), "1 data a", "1 end x y"]
  },
  {
    must: "takes a response with interim ones before it, and tells only the final one (§8.1, RFC 9110 §15.2)",
    role: "client",
    before: opens(1),
    comes: [
      response(1, END_HEADERS, [":status", "100"]),
      response(1, END_HEADERS, [":status", "103", "link", "x"]),
      response(1),
      trailers(1)
    ],
    heard: ["1 headers 200", "1 end grpc-status 0"]
  },
  {
    must: "takes Trailers-Only",
    role: "client",
    before: opens(1),
    comes: [response(1, END_HEADERS | END_STREAM, [...RESPONSE, "grpc-status", "5"])],
    heard: ["1 headers 200 end", "1 end"]
  },
  {
    must: "treats an interim response that ends the stream as malformed",
    role: "client",
    before: opens(1),
    comes: [response(1, END_HEADERS | END_STREAM, [":status", "100"]), ping()],
    heard: ["idle", "1 reset 1 local"],
    said: MALFORMED
  },
  {
    must: "treats a second head without END_STREAM as malformed: a request",
    comes: [request(1), headers(1, plain(["a", "b"])), ping()],
    said: MALFORMED
  },
  {
    must: "treats a second head without END_STREAM as malformed: a response",
    role: "client",
    before: opens(1),
    comes: [response(1), headers(1, plain(["a", "b"])), ping()],
    said: MALFORMED
  },
  {
    must: "treats DATA before the response's head as malformed",
    role: "client",
    before: opens(1),
    comes: [data(1, "x"), ping()],
    said: MALFORMED
  },
  {
    must: "treats DATA between an interim response and the final one as malformed",
    role: "client",
    before: opens(1),
    comes: [response(1, END_HEADERS, [":status", "100"]), data(1, "x"), ping()],
    said: MALFORMED
  },
  {
    must: "treats an end before the response's head as malformed",
    role: "client",
    before: opens(1),
    comes: [data(1, "", END_STREAM), ping()],
    said: MALFORMED
  },
  {
    must: "a server that has answered whole may ask the client to stop: RST_STREAM with NO_ERROR",
    behaviour: HEADS.answersAtOnce,
    options: { lingerMillis: 100 },
    comes: [request(1)],
    after: (endpoint) => {
      endpoint.said()
      endpoint.connection.tick(50)
      if (endpoint.said().length > 0) throw new Error("too early")
      endpoint.connection.tick(200)
    },
    said: ["RST_STREAM 1 NO_ERROR"]
  },
  {
    must: "a client that hears RST_STREAM NO_ERROR after a whole response keeps the response",
    role: "client",
    before: opens(1),
    comes: [response(1), data(1, "x"), trailers(1), frame(3, 0, 1, new Uint8Array(4))],
    heard: ["1 headers 200", "1 data x", "1 end grpc-status 0", "idle", "1 reset 0 peer"]
  }
])

section("RFC 9113 §8.1.1 Malformed Messages", [
  {
    must: "takes a body of the announced length",
    comes: [request(1, END_HEADERS, [...REQUEST, "content-length", "3"]), data(1, "ab"), data(1, "c", END_STREAM)],
    heard: [heard(1), "1 data abc", "1 end"],
    said: []
  },
  {
    must: "a body longer than announced is malformed",
    comes: [request(1, END_HEADERS, [...REQUEST, "content-length", "3"]), data(1, "abcd"), ping()],
    said: MALFORMED
  },
  {
    must: "a body shorter than announced is malformed",
    comes: [request(1, END_HEADERS, [...REQUEST, "content-length", "3"]), data(1, "ab", END_STREAM), ping()],
    said: MALFORMED
  },
  {
    must: "a body shorter than announced is malformed, with trailers too",
    comes: [request(1, END_HEADERS, [...REQUEST, "content-length", "3"]), data(1, "ab"), trailers(1), ping()],
    said: MALFORMED
  },
  {
    must: "no body where one is announced is malformed",
    comes: [request(1, END_HEADERS | END_STREAM, [...REQUEST, "content-length", "3"]), ping()],
    said: MALFORMED
  },
  {
    must: "a response shorter than announced is malformed",
    role: "client",
    before: opens(1),
    comes: [response(1, END_HEADERS, [...RESPONSE, "content-length", "3"]), data(1, "ab", END_STREAM), ping()],
    said: MALFORMED
  },
  malformedRequest("content-length that is no number", [...REQUEST, "content-length", "3x"]),
  malformedRequest("content-length with a sign", [...REQUEST, "content-length", "+3"]),
  malformedRequest("two that differ", [...REQUEST, "content-length", "3", "content-length", "4"])
])

section("RFC 9113 §8.2.1 Field Validity", [
  malformedRequest("a name in upper case", [...REQUEST, "X-Upper", "1"]),
  malformedRequest("a space in a name", [...REQUEST, "a b", "1"]),
  malformedRequest("an empty name", [...REQUEST, "", "1"]),
  malformedRequest("a colon in a name", [...REQUEST, "a:b", "1"]),
  malformedRequest("an octet beyond ASCII in a name", [...REQUEST, "a\xe9", "1"]),
  malformedRequest("CR in a value", [...REQUEST, "a", "1\r2"]),
  malformedRequest("LF in a value", [...REQUEST, "a", "1\n2"]),
  malformedRequest("NUL in a value", [...REQUEST, "a", "1\0"]),
  malformedRequest("a space before a value", [...REQUEST, "a", " 1"]),
  malformedRequest("a tab after a value", [...REQUEST, "a", "1\t"]),
  malformedRequest("LF in :path", [...without(":path"), ":path", "/a\nb"].slice(-2).concat(without(":path"))),
  {
    must: "takes octets beyond ASCII in values",
    comes: [request(1, END_HEADERS, [...REQUEST, "a", "\xe9"])],
    heard: [heard(1)],
    said: []
  },
  malformedResponse("a name in upper case, in a response", [...RESPONSE, "X-Upper", "1"]),
  {
    must: "a name in upper case, in trailers",
    role: "client",
    before: opens(1),
    comes: [response(1), trailers(1, ["Grpc-Status", "0"]), ping()],
    heard: ["1 headers 200", "idle", "1 reset 1 local"],
    said: MALFORMED
  }
])

section("RFC 9113 §8.2.2 Connection-Specific Header Fields", [
  ...["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"].flatMap((name) => [
    malformedRequest(`${name}, in a request`, [...REQUEST, name, "x"]),
    malformedResponse(`${name}, in a response`, [...RESPONSE, name, "x"])
  ]),
  malformedRequest("te with anything but trailers", [...without("te"), "te", "gzip"]),
  {
    must: "takes te: trailers",
    comes: [request(1)],
    heard: [heard(1)],
    said: []
  }
])

section("RFC 9113 §8.3 HTTP Control Data", [
  malformedRequest("a pseudo-header field that is not defined", [":x", "1", ...REQUEST]),
  malformedRequest(":status in a request (§8.3.1)", [":status", "200", ...REQUEST]),
  malformedRequest("a pseudo-header field after a regular one", [...without(":path"), ":path", "/s/m"]),
  malformedRequest("a pseudo-header field twice", [":path", "/s/m", ...REQUEST]),
  malformedRequest("no :method (§8.3.1)", without(":method")),
  malformedRequest("no :scheme (§8.3.1)", without(":scheme")),
  malformedRequest("no :path (§8.3.1)", without(":path")),
  malformedRequest("an empty :path (§8.3.1)", [":path", "", ...without(":path")]),
  malformedResponse("no :status (§8.3.2)", ["content-type", "application/grpc"]),
  malformedResponse(":status twice", [":status", "200", ":status", "200"]),
  malformedResponse(":status that is no number of three digits", [":status", "2000"]),
  malformedResponse(":status that is empty", [":status", ""]),
  malformedResponse(":path in a response (§8.3.2)", [":status", "200", ":path", "/"]),
  {
    must: "pseudo-header fields in a request's trailers are malformed (§8.1)",
    comes: [request(1), trailers(1, [":path", "/"]), ping()],
    said: MALFORMED
  },
  {
    must: "pseudo-header fields in a response's trailers are malformed (§8.1)",
    role: "client",
    before: opens(1),
    comes: [response(1), trailers(1, [":status", "200"]), ping()],
    said: MALFORMED
  }
])

section("RFC 9113 §8.5 The CONNECT Method", [
  malformedRequest("CONNECT with :path", [":method", "CONNECT", ":authority", "a:1", ":path", "/"]),
  malformedRequest("CONNECT with :scheme", [":method", "CONNECT", ":authority", "a:1", ":scheme", "http"]),
  malformedRequest("CONNECT without :authority", [":method", "CONNECT"])
])

section("RFC 9113 §8.6 The Upgrade Header Field", [
  malformedResponse("101 Switching Protocols", [":status", "101"])
])

section("RFC 9113 §10.5.1 Limits on Field Block Size", [
  {
    must: "tells the layer above of a request that is too large, and goes on",
    options: { settings: { maxHeaderList: 400 } },
    comes: [request(1, END_HEADERS, [...REQUEST, "a", "x".repeat(400)]), request(3)],
    heard: ["1 request POST /s/m too large", heard(3)],
    said: []
  },
  {
    must: "resets a stream with trailers that are too large",
    options: { settings: { maxHeaderList: 400 } },
    comes: [request(1), trailers(1, ["a", "x".repeat(400)]), ping()],
    said: ["RST_STREAM 1 ENHANCE_YOUR_CALM", PING_ACK]
  }
])
