import { assert, describe, it } from "@effect/vitest"
import type { ConnectionOptions } from "../../../src/http2/connectionTypes.ts"
import { HpackEncoder } from "../../../src/http2/hpack/HpackEncoder.ts"
import { type Behaviour, block, client, type Endpoint, openStream, REQUEST, RESPONSE, server } from "./endpoint.ts"
import { type Code, CODES, concat, END_HEADERS, END_STREAM, headers } from "./frames.ts"

/** A header block that uses no dynamic table, so that it can stand anywhere. */
export const plain = (fields: ReadonlyArray<string>): Uint8Array =>
  block(new HpackEncoder(4096, { indexing: () => "without" }), fields)

/** HEADERS with a gRPC request. */
export const request = (id: number, flags = END_HEADERS, fields: ReadonlyArray<string> = REQUEST): Uint8Array =>
  headers(id, plain(fields), flags)

/** HEADERS with a gRPC response. */
export const response = (id: number, flags = END_HEADERS, fields: ReadonlyArray<string> = RESPONSE): Uint8Array =>
  headers(id, plain(fields), flags)

/** HEADERS with trailers. */
export const trailers = (id: number, fields: ReadonlyArray<string> = ["grpc-status", "0"]): Uint8Array =>
  headers(id, plain(fields), END_HEADERS | END_STREAM)

/** Frames in; frames, events and an error out. */
export interface Case {
  /** The rule, in the RFC's words or near them. */
  readonly must: string
  readonly role?: "server" | "client" | undefined
  readonly options?: Partial<ConnectionOptions> | undefined
  readonly behaviour?: Behaviour | undefined
  /** What our side does before anything comes: for a client, to open streams; nothing it says then is in `said`. */
  readonly before?: ((endpoint: Endpoint) => void) | undefined
  readonly comes: ReadonlyArray<Uint8Array>
  /** What our side does after all has come. */
  readonly after?: ((endpoint: Endpoint) => void) | undefined
  /** All that is said in answer, in words; absent: not looked at. */
  readonly said?: ReadonlyArray<string> | undefined
  /** All that the layer above hears; absent: not looked at. */
  readonly heard?: ReadonlyArray<string> | undefined
  /** The connection error; absent: the connection lives. */
  readonly error?: Code | undefined
}

/** A client that has opened streams 1, 3, … with their heads sent. */
export const opens = (count: number) => (endpoint: Endpoint): void => {
  for (let i = 0; i < count; i++) openStream(endpoint)
}

/** Layers above, by what they do with a request. */
export const HEADS = {
  /** Trailers-Only, whole. */
  answersAtOnce: {
    onRequest: (stream) => {
      stream.respond([...RESPONSE, "grpc-status", "0"])
      stream.end()
    }
  }
} satisfies Record<string, Behaviour>

const play = (test: Case, cuts: ReadonlyArray<number>): Endpoint => {
  const endpoint = (test.role === "client" ? client : server)(test.options, test.behaviour)
  test.before?.(endpoint)
  endpoint.said()
  endpoint.events.length = 0
  endpoint.receive(concat(...test.comes), cuts)
  test.after?.(endpoint)
  return endpoint
}

const check = (test: Case, cuts: ReadonlyArray<number>): void => {
  const endpoint = play(test, cuts)
  const said = endpoint.said()
  if (test.said !== undefined) assert.deepStrictEqual(said, test.said)
  if (test.heard !== undefined) assert.deepStrictEqual(endpoint.events, test.heard)
  if (test.error === undefined) {
    assert.isUndefined(endpoint.closed, `closed: ${endpoint.closed?.detail}`)
    assert.isFalse(endpoint.ended)
  } else {
    assert.strictEqual(CODES[endpoint.closed?.code ?? -1], test.error, endpoint.closed?.detail ?? "not closed")
    // A connection error ends with GOAWAY, and nothing after it (§5.4.1).
    assert.match(said.at(-1) ?? "", new RegExp(`^GOAWAY \\d+ ${test.error}$`))
    assert.isTrue(endpoint.ended)
  }
}

/** Most borders that a case is cut at one by one; longer ones are sampled. */
const MAX_CUTS = 300

/** Plays each case whole, octet by octet, and in two reads cut at each border: the result is the same. */
export const section = (title: string, cases: ReadonlyArray<Case>): void => {
  describe(title, () => {
    it.for(cases)("$must", (test) => {
      check(test, [])
      const { length } = concat(...test.comes)
      check(test, Array.from({ length: Math.max(0, length - 1) }, (_, i) => i + 1))
      const stride = Math.ceil(length / MAX_CUTS)
      for (let cut = 1; cut < length; cut += stride) check(test, [cut])
    })
  })
}
