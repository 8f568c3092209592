import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as net from "node:net"
import * as path from "node:path"
import { promisify } from "node:util"
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest"
import { eventually } from "../support/events.ts"
import { collect, reasonOf } from "../support/gateway.ts"
import { GrpcJsGateway } from "../support/grpcJsGateway.ts"
import { moved } from "../support/lab.ts"
import { request } from "../support/protobuf.ts"
import { calls, python } from "./python.ts"
import { RawClient } from "./raw/client.ts"
import { ErrorCode, Flag, message } from "./raw/frames.ts"
import { dataFrame, headersFrame, PREDICT, requestHeaders } from "./raw/requests.ts"
import { RESPONSE, wholeAnswer } from "./raw/worker.ts"
import { ANSWER, useRawLab } from "./rawLab.ts"

const has = (command: string): boolean => spawnSync("which", [command]).status === 0
const needs = (command: string): string => (has(command) ? "" : ` (skipped: ${command} is not installed)`)

describe.skipIf(!has("h2load"))(`h2load${needs("h2load")}`, () => {
  const lab = useRawLab()

  it("has every one of 3000 streams answered, on four connections with 25 at once", async () => {
    const { lab: { folder, sidecar }, worker } = lab()
    const body = path.join(folder, "request")
    fs.writeFileSync(body, message(request({ prompt: "load" })))
    const before = await sidecar.metrics()
    const serving = (async () => {
      for (let i = 0; i < 3000; i++) {
        const served = await worker.nextCall()
        void served.connection.send(wholeAnswer(served.id, ANSWER))
      }
    })()
    const url = `http://${sidecar.address}/cy.llm.AiInference/StreamPredict`
    const options = `-n 3000 -c 4 -m 25 -H content-type:application/grpc -H te:trailers -d ${body} ${url}`
    const { stdout } = await promisify(execFile)("h2load", options.split(" "))
    await serving
    expect(stdout).toContain("3000 total, 3000 started, 3000 done, 3000 succeeded, 0 failed, 0 errored, 0 timeout")
    const after = await sidecar.settled()
    expect(moved(before, after, "sidecar_requests_success_total")).toBe(3000)
    expect(moved(before, after, "sidecar_tokens_processed_total")).toBe(3000 * (ANSWER.length - 1))
  })
})

const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() =>
        address === null || typeof address === "string" ? reject(new Error("no port")) : resolve(address.port)
      )
    })
  })

const nginxConfig = (folder: string, port: number, upstream: string): string => `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log ${folder}/nginx-error.log warn;
events {}
http {
  access_log off;
  client_body_temp_path ${folder}/nginx-body;
  proxy_temp_path ${folder}/nginx-proxy;
  fastcgi_temp_path ${folder}/nginx-fastcgi;
  uwsgi_temp_path ${folder}/nginx-uwsgi;
  scgi_temp_path ${folder}/nginx-scgi;
  upstream sidecar { server ${upstream}; keepalive 8; }
  server {
    listen 127.0.0.1:${port} http2;
    client_max_body_size 0;
    location / { grpc_pass grpc://sidecar; }
  }
}
`

const reachable = (port: number): Promise<true | undefined> =>
  new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
    socket.once("error", () => resolve(undefined))
  })

describe.skipIf(!has("nginx"))(`nginx as a gRPC proxy in front${needs("nginx")}`, () => {
  const lab = useRawLab()
  let nginx: ChildProcess
  let gateway: GrpcJsGateway
  let address = ""
  let log = ""

  beforeAll(async () => {
    const { lab: { folder, sidecar } } = lab()
    const port = await freePort()
    const config = path.join(folder, "nginx.conf")
    log = path.join(folder, "nginx-error.log")
    fs.writeFileSync(config, nginxConfig(folder, port, sidecar.address))
    nginx = spawn("nginx", ["-c", config, "-e", log], { stdio: "inherit" })
    await eventually("nginx listens", () => reachable(port))
    address = `127.0.0.1:${port}`
    gateway = new GrpcJsGateway(address)
  })
  afterAll(async () => {
    gateway?.close()
    const gone = new Promise((resolve) => nginx?.once("exit", resolve))
    nginx?.kill("SIGTERM")
    await gone
  })
  afterEach(() => {
    // What nginx does not like of the sidecar's HTTP/2 it says only there.
    expect(fs.readFileSync(log, "utf8").split("\n").filter((line) => line.includes("[error]"))).toEqual([])
  })

  const call = async (timeoutMillis?: number) => {
    const asked = request({ prompt: "through nginx" })
    const asking = gateway.call({ requests: [asked], ...(timeoutMillis === undefined ? {} : { timeoutMillis }) })
    const served = await lab().worker.nextCall()
    await served.received(asked.length + 5)
    expect(served.messages).toEqual([asked])
    return { asking, served }
  }

  it("carries streams whole", async () => {
    for (let i = 0; i < 20; i++) {
      const { asking, served } = await call()
      await served.connection.send(wholeAnswer(served.id, ANSWER))
      const { messages, status } = await collect(asking)
      expect(messages).toEqual(ANSWER)
      expect(status.code).toBe(0)
    }
  })

  it("passes tokens on as they come", async () => {
    const { asking, served } = await call()
    await served.connection.send(headersFrame(served.id, RESPONSE))
    for (const [i, one] of ANSWER.entries()) {
      await served.connection.send(dataFrame(served.id, message(one)))
      await asking.messages.count(i + 1, "a token")
    }
    await served.connection.send(headersFrame(served.id, [["grpc-status", "0"]], Flag.END_STREAM))
    expect((await collect(asking)).status.code).toBe(0)
  })

  it("passes the worker's status on, with and without tokens before it", async () => {
    const first = await call()
    await first.served.connection.send(
      headersFrame(first.served.id, [...RESPONSE, ["grpc-status", "5"], ["grpc-message", "no model"]], Flag.END_STREAM)
    )
    expect((await collect(first.asking)).status).toMatchObject({ code: 5, message: "no model" })
    const second = await call()
    await second.served.connection.send(
      headersFrame(second.served.id, RESPONSE),
      dataFrame(second.served.id, message(ANSWER[0]!))
    )
    await second.asking.messages.count(1, "a token")
    await second.served.connection.send(
      headersFrame(second.served.id, [["grpc-status", "8"], ["grpc-message", "out of memory"]], Flag.END_STREAM)
    )
    const { status } = await collect(second.asking)
    expect(status).toMatchObject({ code: 8, message: "out of memory" })
    expect(reasonOf(status)).toBeUndefined()
  })

  it("has its gateway's cancel and deadline reach the worker", async () => {
    const cancelled = await call()
    cancelled.asking.cancel()
    expect(await cancelled.served.reset.promise).toBe(ErrorCode.CANCEL)
    const late = await call(400)
    expect(await late.served.reset.promise).toBe(ErrorCode.CANCEL)
    const status = await late.asking.status
    // The gateway's library may have been faster.
    expect([[4, undefined], [4, "deadline"]]).toContainEqual([status.code, reasonOf(status)])
  })

  it("has its connections free for the next call when half-closes cross the trailers", async () => {
    const client = await RawClient.connect(address)
    const asked = message(request({ prompt: "one of many" }))
    let id = -1
    const ask = async () => {
      id += 2
      const answered = client.stream(id)
      const header = ["x-call", String(id)] as const
      await client.send(headersFrame(id, requestHeaders(PREDICT, header)), dataFrame(id, asked))
      const served = await lab().worker.nextCall(header)
      await served.received(asked.length)
      void served.connection.send(wholeAnswer(served.id, ANSWER))
      // Sooner or later: now and then the half-close is under way when the trailers come.
      for (let i = 0; i < answered.id % 5; i++) await client.connection.settled(`${answered.id} ${i}`)
      await client.send(dataFrame(answered.id, Buffer.alloc(0), true))
      await answered.over
      expect(answered.trailer("grpc-status")).toBe("0")
      expect(answered.messages).toEqual(ANSWER)
    }
    await Promise.all(Array.from({ length: 8 }, async () => {
      for (let i = 0; i < 100; i++) await ask()
    }))
  })

  it.skipIf(python === undefined)("carries a C-core gateway's streams", async () => {
    const serving = (async () => {
      for (let i = 0; i < 8; i++) {
        const served = await lab().worker.nextCall()
        await served.received(6)
        void served.connection.send(wholeAnswer(served.id, ANSWER))
      }
    })()
    const asking = calls(address, ...Array.from({ length: 8 }, () => ({ plan: {} })))
    const [outcomes] = await Promise.all([asking, serving])
    expect(outcomes.map(({ code, tokens, ended }) => [code, tokens, ended])).toEqual(
      Array.from({ length: 8 }, () => [0, ANSWER.length - 1, true])
    )
  })
})
