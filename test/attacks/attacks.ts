import * as net from "node:net"
import { setTimeout as delay } from "node:timers/promises"
import { RawConnection, type RawOptions } from "../conformance/raw/connection.ts"
import { ErrorCode, frame, FrameType, PREFACE, rstStream, settings, windowUpdate } from "../conformance/raw/frames.ts"
import { dataFrame, headersFrame, requestHeaders, wholeRequest } from "../conformance/raw/requests.ts"
import { request } from "../support/protobuf.ts"
import { bomb, type Flood, floods } from "./floods.ts"

const asked = request({ prompt: "asked", tenant: "t", playerId: "p" })

/** Where the sidecar is. */
export interface Target {
  readonly host: string
  readonly port: number
}

/** Something that an attacker does for as long as it lives. */
export interface Attack {
  readonly name: string
  /**
   * What has to bite: a label of `sidecar_http2_limits_total` or `sidecar_limits_total`, or a code of
   * `sidecar_http2_sessions_closed_total`; undefined: it is within what is fair, or costs nothing.
   */
  readonly limit?: string
  /** The sidecar has TLS on its port. */
  readonly secure?: boolean
  /** Settings of the sidecar, so that a time limit bites while one looks. */
  readonly env?: Readonly<Record<string, string>>
  readonly run: (target: Target) => Promise<void>
}

const connect = ({ host, port }: Target): Promise<net.Socket> =>
  new Promise((resolve) => {
    const socket = net.connect(port, host)
    socket.once("connect", () => resolve(socket))
    socket.on("error", () => {
      socket.destroy()
      resolve(socket)
    })
  })

const http2 = async (
  target: Target,
  options: RawOptions = {},
  ...initial: ReadonlyArray<readonly [number, number]>
) => {
  const connection = new RawConnection(await connect(target), "client", options)
  await connection.send(PREFACE, settings(...initial))
  return connection
}

const forever = async (round: () => Promise<void>): Promise<void> => {
  for (;;) await round()
}

/** Sends, unless it is cut off meanwhile; then hears what was said. */
const say = async (attacker: RawConnection, bytes: Uint8Array): Promise<void> => {
  await Promise.race([attacker.send(bytes), attacker.goaway.promise, attacker.closed.promise])
  await new Promise((resolve) => setImmediate(resolve))
}

const over = ({ closed, goaway }: RawConnection): boolean => closed.settled() || goaway.settled()

/** Cut off, it comes again. */
const flood = ({ burst, first, limit, name }: Flood): Attack => ({
  name,
  limit,
  run: (target) =>
    forever(async () => {
      const attacker = await http2(target)
      await Promise.race([attacker.settled("greeted").catch(() => undefined), attacker.closed.promise])
      if (first !== undefined) await attacker.send(first)
      for (let n = 0; !over(attacker); n++) await say(attacker, burst(n))
      attacker.destroy()
    })
})

/** Opens sockets until there are `count`, and for each that is closed another one. */
const sockets =
  (count: number, greeting: Uint8Array, trickle?: Uint8Array) => async (target: Target): Promise<void> => {
    const open = new Set<net.Socket>()
    for (let turn = 0;; turn++) {
      for (let more = 0; more < 100 && open.size < count; more++) {
        const socket = net.connect(target.port, target.host)
        open.add(socket)
        socket.on("error", () => socket.destroy())
        socket.once("close", () => open.delete(socket))
        socket.resume()
        if (greeting.length > 0) socket.write(greeting)
      }
      if (trickle !== undefined) { for (const socket of open) socket.write(trickle.subarray(turn % 24, turn % 24 + 1)) }
      await delay(10)
    }
  }

/** A TLS ClientHello's record header and its first bytes; the rest never comes. */
const HALF_HELLO = Buffer.from("1603010200010001fc0303", "hex")

const others: ReadonlyArray<Attack> = [
  {
    name: "header blocks that unpack to a thousandfold (HPACK bomb)",
    limit: "header_list",
    run: (target) =>
      forever(async () => {
        const attacker = await http2(target)
        for (let n = 0; n < 1000 && !attacker.closed.settled(); n++) {
          await attacker.send(bomb(n))
          await Promise.race([attacker.stream(2 * n + 1).over, attacker.closed.promise])
        }
        attacker.destroy()
      })
  },
  {
    name: "resets at 300 a second, each when the worker has the stream",
    run: async (target) => {
      const attacker = await http2(target)
      for (let n = 0;; n++) {
        await attacker.send(wholeRequest(2 * n + 1, asked))
        setTimeout(() => void attacker.send(rstStream(2 * n + 1, ErrorCode.CANCEL)), 20)
        await delay(3)
      }
    }
  },
  {
    name: "2000 streams whose windows stay shut",
    run: async (target) => {
      const attacker = await http2(target, { credit: false }, [4, 0])
      for (let n = 0; n < 2000; n++) await attacker.send(wholeRequest(2 * n + 1, asked, ["x-answer", "long"]))
      await attacker.closed.promise
    }
  },
  {
    name: "DATA of one byte each, on two streams in turn",
    run: async (target) => {
      const attacker = await http2(target)
      const [a, b] = [dataFrame(1, Buffer.of(0)), dataFrame(3, Buffer.of(0))]
      const burst = Buffer.concat(Array.from({ length: 5000 }, (_, at) => at % 2 === 0 ? a : b))
      const prefix = Buffer.of(0, 6, 0, 0, 0)
      await attacker.send(headersFrame(1, requestHeaders()), headersFrame(3, requestHeaders()))
      await attacker.send(dataFrame(1, prefix), dataFrame(3, prefix))
      // Within the windows: they are opened again as the bytes are taken.
      await forever(async () => {
        if (attacker.closed.settled()) await attacker.closed.promise.then(() => delay(1e9))
        await attacker.send(burst)
        await attacker.settled("taken").catch(() => undefined)
      })
    }
  },
  {
    name: "window updates below the limit: 90,000 a second",
    run: async (target) => {
      const attacker = await http2(target)
      const burst = Buffer.concat(Array.from({ length: 9000 }, () => windowUpdate(0, 1)))
      await forever(async () => {
        await attacker.send(burst)
        await delay(100)
      })
    }
  },
  {
    name: "half messages: 200 streams that send 0.9 of 1 MB",
    limit: "unfinished_bytes",
    run: async (target) => {
      const attacker = await http2(target)
      const start = Buffer.concat([Buffer.of(0, 0, 0x0f, 0x42, 0x40), Buffer.alloc(16_000)])
      for (let n = 0; n < 200; n++) await attacker.send(headersFrame(2 * n + 1, requestHeaders()))
      for (let part = 0; part < 56; part++) {
        for (let n = 0; n < 200; n++) {
          await attacker.send(dataFrame(2 * n + 1, part === 0 ? start : Buffer.alloc(16_000)))
        }
        await attacker.settled("part").catch(() => undefined)
      }
      await attacker.closed.promise
    }
  },
  {
    name: "messages of 60 MB, one after the other",
    run: (target) =>
      forever(async () => {
        const attacker = await http2(target)
        await attacker.send(headersFrame(1, requestHeaders()), dataFrame(1, Buffer.of(0, 0x03, 0x93, 0x87, 0)))
        const part = Buffer.concat(Array.from({ length: 30 }, () => dataFrame(1, Buffer.alloc(16_000))))
        for (let sent = 0; sent < 60_000_000 && !attacker.closed.settled(); sent += 30 * 16_000) {
          await attacker.send(part)
          await attacker.settled("part").catch(() => undefined)
        }
        attacker.destroy()
      })
  },
  {
    name: "4000 streams that never send a request",
    limit: "silent_calls",
    env: { SIDECAR_FIRST_MESSAGE_TIMEOUT_SECS: "1" },
    run: async (target) => {
      const attacker = await http2(target)
      for (let n = 0; n < 4000; n++) await attacker.send(headersFrame(2 * n + 1, requestHeaders()))
      await attacker.closed.promise
    }
  },
  { name: "3000 connections without a word", limit: "address_connections", run: sockets(3000, new Uint8Array()) },
  {
    name: "1000 connections, a byte of the preface each hundredth of a second",
    run: sockets(1000, new Uint8Array(), PREFACE)
  },
  {
    name: "HTTP/1.1 requests, connection after connection",
    limit: "http1",
    run: sockets(50, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
  },
  { name: "TLS hellos on the plain port", limit: "tls_on_plaintext", run: sockets(50, HALF_HELLO) },
  {
    name: "half-open TLS handshakes: 3000",
    limit: "address_connections",
    secure: true,
    run: sockets(3000, HALF_HELLO)
  },
  {
    name: "plain bytes on the TLS port",
    limit: "plaintext_on_tls",
    secure: true,
    run: sockets(50, Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
  },
  {
    name: "GOAWAY, and on it goes",
    run: (target) =>
      forever(async () => {
        const attacker = await http2(target)
        const goaways = Buffer.concat(
          Array.from({ length: 100 }, () => frame(FrameType.GOAWAY, 0, 0, Buffer.alloc(8)))
        )
        while (!over(attacker)) await say(attacker, goaways)
        attacker.destroy()
      })
  }
]

/** All of them, in the order of the table. */
export const attacks: ReadonlyArray<Attack> = [...floods.map(flood), ...others]
