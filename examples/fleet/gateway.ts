/**
 * A gateway on grpc-js that balances over the sidecars: `node gateway.ts TARGET RATE SECONDS`. Opens RATE streams a second,
 * follows the hint of each refusal (`grpc-retry-pushback-ms`), and tells its account as one line of JSON.
 */
import * as grpc from "@grpc/grpc-js"
import { setTimeout as delay } from "node:timers/promises"
import type { GatewayAccount } from "./account.ts"

const PREDICT = "/cy.llm.AiInference/StreamPredict"
const MOST_TRIES = 6
const DEADLINE_MILLIS = 60_000

const [target = "", rate = "100", seconds = "10", policy = "round_robin"] = process.argv.slice(2)

const same = (bytes: Buffer): Buffer => bytes
const text = (number: number, value: string | Buffer): Buffer => {
  const data = Buffer.from(value)
  return Buffer.concat([Buffer.of(number * 8 + 2, data.length), data])
}
const REQUEST = Buffer.concat([
  text(1, "model-1"),
  text(2, "a question"),
  text(6, Buffer.concat([text(1, "trace"), text(2, "grpc-js"), text(3, "player")]))
])

const varint = (bytes: Buffer, at: number): readonly [value: number, next: number] => {
  let value = 0
  for (let shift = 0;; shift += 7) {
    const byte = bytes[at++] ?? 0
    value += (byte & 127) * 2 ** shift
    if (byte < 128) return [value, at]
  }
}

/** Whether the message has a chunk (field 2). */
const isToken = (message: Buffer): boolean => {
  for (let at = 0; at < message.length;) {
    const [tag, next] = varint(message, at)
    const [size, behind] = (tag & 7) === 2 || (tag & 7) === 0 ? varint(message, next) : [0, next]
    if (tag === 18) return size > 0
    at = (tag & 7) === 2 ? behind + size : (tag & 7) === 0 ? behind : next + ((tag & 7) === 1 ? 8 : 4)
  }
  return false
}

/** Of its own accord this policy asks for nothing; here the sidecars tell each second (OpenRcaService). */
const settings = policy === "weighted_round_robin"
  ? {
    enable_oob_load_report: true,
    oob_load_reporting_period: "1s",
    blackout_period: "1s",
    weight_expiration_period: "60s",
    weight_update_period: "1s"
  }
  : {}

const client = new grpc.Client(target, grpc.credentials.createInsecure(), {
  "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ [policy]: settings }] }),
  "grpc.enable_retries": 0,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1000
})

const account = { streams: 0, ok: 0, tokens: 0, dropped: 0, hinted: 0, unhinted: 0, gaveUp: 0 }
const ends: Record<string, number> = {}
const firstTokenMillis: Array<number> = []

/** One try: what to wait for in milliseconds before the next one; 0: served. */
const attempt = (): Promise<number> =>
  new Promise((resolve) => {
    const began = performance.now()
    let tokens = 0
    const metadata = new grpc.Metadata({ waitForReady: true })
    const call = client.makeBidiStreamRequest(PREDICT, same, same, metadata, { deadline: Date.now() + DEADLINE_MILLIS })
    call.on("data", (message: Buffer) => {
      if (!isToken(message)) return
      if (tokens++ === 0) firstTokenMillis.push(performance.now() - began)
    })
    let status: grpc.StatusObject | undefined
    let settled = false
    const settle = (): void => {
      if (status === undefined || settled) return
      settled = true
      account.tokens += tokens
      if (status.code === grpc.status.OK) {
        account.ok++
        return resolve(0)
      }
      const first = (key: string): string | undefined => status?.metadata.get(key)[0]?.toString()
      const reason = first("cy-reason")
      const name = reason ?? `own: ${status.details.slice(0, 60)}`
      ends[name] = (ends[name] ?? 0) + 1
      // grpc-js drops messages that its reader has not taken when a status other than OK comes (grpc-node#2764).
      account.dropped += Math.max(0, Number(first("cy-chunks-delivered") ?? tokens) - tokens)
      const hint = first("grpc-retry-pushback-ms")
      if (hint !== undefined) account.hinted++
      // A stream that broke in the middle was no refusal: the caller decides. Here it asks again.
      else if (tokens === 0 && reason !== undefined) account.unhinted++
      resolve(hint === undefined ? 500 : Number(hint))
    }
    call.on("status", (told) => {
      status = told
    })
    call.on("error", () => undefined)
    // After the status, and after all messages that are still handed on.
    call.once("end", settle)
    call.once("close", settle)
    call.write(REQUEST)
    call.end()
  })

const stream = async (): Promise<void> => {
  for (let tries = 0; tries < MOST_TRIES; tries++) {
    const wait = await attempt()
    if (wait === 0) return
    await delay(wait)
  }
  account.gaveUp++
}

await new Promise<void>((resolve, reject) =>
  client.waitForReady(Date.now() + 30_000, (error) => error === undefined ? resolve() : reject(error))
)
const running: Array<Promise<void>> = []
const began = performance.now()
while (performance.now() - began < Number(seconds) * 1000) {
  const due = Math.floor((performance.now() - began) / 1000 * Number(rate))
  while (account.streams < due) {
    account.streams++
    running.push(stream())
  }
  await delay(5)
}
await Promise.all(running)
client.close()
const told: GatewayAccount = { ...account, ends, firstTokenMillis }
process.stdout.write(`${JSON.stringify(told)}\n`)
