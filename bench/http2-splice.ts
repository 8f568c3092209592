/**
 * Baseline: the thinnest splice of two `node:http2` streams. DATA is piped through as it comes, headers and trailers are
 * copied; frames are not cut, nothing is counted.
 *
 * `node http2-splice.ts PORT SOCKET_PATH`
 */
import * as http2 from "node:http2"
import * as net from "node:net"

const [port, socket] = process.argv.slice(2)

/** Pseudo-headers of the other side, and what `node:http2` writes itself. */
const copy = (headers: http2.IncomingHttpHeaders): http2.OutgoingHttpHeaders => {
  const out: http2.OutgoingHttpHeaders = {}
  for (const name of Object.keys(headers)) {
    if (name !== ":authority" && name !== "date") out[name] = headers[name]
  }
  return out
}

const dial = (): http2.ClientHttp2Session => {
  const session = http2.connect("http://worker", {
    createConnection: () => net.connect(String(socket)),
    settings: { initialWindowSize: 65_535, enablePush: false }
  })
  session.on("connect", () => session.setLocalWindowSize(16 * 1024 * 1024))
  session.on("error", () => session.destroy())
  return session
}
let worker = dial()

const server = http2.createServer({ streamResetBurst: 100_000, streamResetRate: 10_000 })
server.on("session", (session) => {
  session.on("error", () => session.destroy())
})
server.on("stream", (down, headers) => {
  if (worker.closed || worker.destroyed) worker = dial()
  const up = worker.request(copy(headers), { endStream: false })
  let trailers: http2.IncomingHttpHeaders = {}
  down.on("data", (chunk: Buffer) => {
    if (!up.write(chunk)) down.pause()
  })
  up.on("drain", () => down.resume())
  down.on("end", () => up.end())
  up.on("response", (response) => {
    if (!down.headersSent && !down.destroyed) down.respond(copy(response), { waitForTrailers: true })
  })
  down.on("wantTrailers", () => down.sendTrailers(copy(trailers)))
  up.on("data", (chunk: Buffer) => {
    if (!down.write(chunk)) up.pause()
  })
  down.on("drain", () => up.resume())
  up.on("trailers", (received) => {
    trailers = received
  })
  up.on("end", () => down.end())
  up.on("error", () => down.close(http2.constants.NGHTTP2_INTERNAL_ERROR))
  down.on("error", () => up.close(http2.constants.NGHTTP2_CANCEL))
  down.on("close", () => {
    if (!up.closed) up.close(http2.constants.NGHTTP2_CANCEL)
  })
})
server.listen(Number(port), "127.0.0.1")
process.on("SIGTERM", () => process.exit(0))
