import * as http from "node:http"
import { expect, it, onTestFinished } from "vitest"
import { Recorder } from "../support/events.ts"
import { collect } from "../support/gateway.ts"
import { emptyLab } from "../support/lab.ts"
import { readReport, type SeenReport } from "../support/otlp.ts"
import { endOfStream, request, tokens } from "../support/protobuf.ts"

/** A collector on a port of its own. */
const startCollector = async (): Promise<{ readonly url: string; readonly reports: Recorder<SeenReport> }> => {
  const reports = new Recorder<SeenReport>()
  const server = http.createServer((message, response) => {
    const parts: Array<Buffer> = []
    message.on("data", (part: Buffer) => parts.push(part))
    message.on("end", () => {
      response.writeHead(message.url === "/v1/traces" ? 200 : 404).end()
      reports.push(readReport(message.headers, Buffer.concat(parts)))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  onTestFinished(() => void server.close().closeAllConnections())
  const address = server.address()
  return { url: `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`, reports }
}

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
const parentId = "00f067aa0ba902b7"

it.each(["http/protobuf", "http/json"] as const)(
  "a held and replayed stream is one span below the gateway's, and the worker's parent: %s",
  async (protocol) => {
    const collector = await startCollector()
    const lab = await emptyLab({
      worker: false,
      env: {
        SIDECAR_HOLD_ON_DISCONNECT_SECS: "60",
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_PROTOCOL: protocol,
        OTEL_EXPORTER_OTLP_COMPRESSION: "gzip",
        OTEL_SERVICE_NAME: "sidecar-of-seven"
      }
    }).open()
    const call = lab.gateway.call({
      metadata: [["traceparent", `00-${traceId}-${parentId}-01`]],
      requests: [request({ model: "qwen-7b" })]
    })
    await lab.sidecar.figures("a held stream", (figures) => figures.get("sidecar_streams_held") === 1)
    const first = await lab.startWorker()
    const seen = [(await first.nextCall()).headers["traceparent"]]
    await first.kill()
    const second = await lab.startWorker()
    const atWorker = await second.nextCall()
    seen.push(atWorker.headers["traceparent"])
    atWorker.answer(3)
    const { messages, status } = await collect(call)
    expect(status.code).toBe(0)
    expect(messages).toEqual([...tokens(3), endOfStream(3)])

    const { encoding, resource, spans } = await collector.reports.first(() => true, "a report")
    expect(encoding).toBe(protocol === "http/json" ? "json" : "protobuf")
    expect(resource["service.name"]).toBe("sidecar-of-seven")
    expect(spans).toHaveLength(1)
    const span = spans[0]!
    expect(span).toMatchObject({ traceId, parentSpanId: parentId, kind: 2, status: { code: 1 } })
    expect(span.attributes).toMatchObject({
      "gen_ai.operation.name": "text_completion",
      "gen_ai.provider.name": "cy-llm",
      "gen_ai.request.model": "qwen-7b",
      "gen_ai.usage.output_tokens": 3,
      "rpc.response.status_code": "OK",
      "cy.outcome": "completed",
      "cy.replays": 1
    })
    expect(span.events.map(({ name }) => name)).toEqual(["held", "sent", "held", "replayed", "first_token"])
    const times = [span.startedAt, ...span.events.map(({ at }) => at), span.endedAt]
    expect(times).toEqual([...times].sort((a, b) => (a < b ? -1 : 1)))
    // Both workers were given our span for a parent, in the gateway's trace.
    expect(seen).toEqual([1, 2].map(() => `00-${traceId}-${span.spanId}-01`))
  }
)
